"""`resolve` determines the settings of a run and where each comes from. Of four layers a later one overrides an earlier one:

    suite      the defaults of `DataSpec` and `TrainSpec`
    model      what the model's file declares, then its variant
    data set   what the data set's source declares, and with fewer than SMALL training documents the model's settings for
               small data
    user       what the request changes

There are two exceptions. A variant's training settings override those of the data set, so `caml@published` is trained on
small data as on any other. And a model's data settings (how many tokens it reads) override those of the data set, which are
meant for models without any.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from icdbench.data import datasets, encoders, word_vectors
from icdbench.settings import Settings, SpecError, closest, nearest
from icdbench.spec import DataSpec, Planned, RunSpec, TrainSpec, Variant
from icdbench.training import accelerator, objectives
from icdbench.types import Corpus

if TYPE_CHECKING:
    import torch

    from icdbench.records import RunRecord
    from icdbench.registry import Entry

SUITE, MODEL, DATA_SET, USER = LAYERS = ("suite", "model", "data set", "user")
SMALL = 2000  # with fewer training documents a model's settings for small data are used


@dataclass(frozen=True)
class Resolved:
    """A system's run, with the default seed. Settings have their full names, such as `train.max_epochs`.

    `layers` has the layer from which each setting comes; `unused` are the user's changes without effect on this system (such
    as epochs of a linear model), which are left out of the run.
    """

    planned: Planned
    corpus: Corpus
    layers: Mapping[str, str]
    unused: frozenset[str]

    @property
    def spec(self) -> RunSpec:
        """The specification of the run."""
        return self.planned.spec

    @property
    def rows(self) -> list[tuple[str, Any, str]]:
        """Each setting that has an effect on this system and data set, with its value and its layer."""
        values = {f"{part}.{name}": value for part, fields in self.spec.parts.items() for name, value in fields.items()}
        return [(name, value, self.layers[name]) for name, value in values.items() if name in self.layers]


def resolve(
    origin: datasets.Source,
    entry: Entry,
    variant: Variant,
    changes: Mapping[str, Any],
    load: Callable[[DataSpec], Corpus],
    device: torch.device,
) -> Resolved:
    """The settings of a system on a data set, which `load` encodes, and on a device. Raises SpecError; UnsuitableError for unsuitable data."""
    config_changes, declared = _with_encoder(entry, variant, changes)
    default_data = origin.settings(declared)
    data_changes = word_vectors.by_content(changes_of(changes, "data"))
    config = entry.config().override({**variant.model, **config_changes}, entry.name)
    has_word_vectors = bool(getattr(config, "embedding_size", None))
    unused_data = origin.settings({**declared, **data_changes}).idle(word_vectors=has_word_vectors)
    data_changes = {name: value for name, value in data_changes.items() if name not in unused_data}
    data = origin.settings({**declared, **data_changes})
    corpus = load(data)
    entry.check(corpus, variant)
    small = _for_small_data(entry, variant, corpus)
    default_config = entry.config().override({**small[entry.name], **variant.model}, entry.name)
    config = default_config.override(config_changes, entry.name)
    of_origin = {name: value for name, value in origin.train.items() if name not in variant.train}
    train_of_data_set = {**small["train"], **of_origin}
    default_train = TrainSpec().override({**entry.train, **variant.train, **train_of_data_set}, "train")
    train_changes = changes_of(changes, "train")
    unused_train = _unused(default_train.override(train_changes, "train"), uses_trainer=entry.uses_trainer)
    train_changes = {name: value for name, value in train_changes.items() if name not in unused_train}
    train = default_train.override(train_changes, "train")
    if train.guidance:
        objectives.objective_for(train, corpus.splits["train"])  # raises SpecError if the data lack what it needs

    by_origin = _differing(type(origin.settings())(), origin.settings())
    layers = {
        **_layers("data", data, {SUITE: data.model_dump(), DATA_SET: by_origin, MODEL: declared, USER: data_changes}),
        **_layers("train", train, {SUITE: train.model_dump(), MODEL: {**entry.train, **variant.train}, DATA_SET: train_of_data_set, USER: train_changes}),
        **_layers(entry.name, config, {MODEL: config.model_dump(), DATA_SET: small[entry.name], USER: changes_of(changes, entry.name)}),
    }  # fmt: skip
    spec = RunSpec(
        dataset=origin.name,
        fingerprint=corpus.fingerprint,
        model=entry.name,
        variant=variant.name,
        data=data,
        train=train.override({"precision": accelerator.resolved(train.precision, device)}, "train"),
        version=entry.version,
        uses_trainer=entry.uses_trainer,
        config=config.model_dump(mode="json"),
    )
    changed = {
        f"{target}.{name}": value
        for target, default, chosen in (
            ("data", default_data, data),
            ("train", default_train, train),
            (entry.name, default_config, config),
        )
        for name, value in _differing(default, chosen).items()
    }
    adapted = {
        f"{target}.{name}": value
        for target, chosen in (("train", train), (entry.name, config))
        for name, value in small[target].items()
        if getattr(chosen, name) == value
    }
    unused = {f"data.{name}" for name in unused_data} | {f"train.{name}" for name in unused_train}
    return Resolved(Planned(spec, changed, adapted), corpus, layers, frozenset(unused & changes.keys()))


def without_validation(planned: Planned) -> Planned | None:
    """The same run on the training documents alone, if this one also learns from those of validation; else None."""
    data = planned.spec.data
    if data.train_on == "train":
        return None
    spec = planned.spec.model_copy(update={"data": data.override({"train_on": "train"}, "data")})
    changed = {name: value for name, value in planned.changed.items() if name != "data.train_on"}
    return replace(planned, spec=spec, changed=changed)


def with_epochs_of(chosen: RunRecord, train: TrainSpec) -> TrainSpec:
    """The settings of a training that ends with the epoch that was best in a stored run, if that has epochs."""
    best = chosen.best_epoch
    return train if best is None else train.override({"max_epochs": int(best.epoch)}, "train")


def _with_encoder(entry: Entry, variant: Variant, changes: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The user's changes of the model, and the data settings that the model declares.

    If the model needs an encoder, the changes name it by its content, and the data settings have its tokeniser. Raises
    SpecError, DataError.
    """
    config_changes, declared = changes_of(changes, entry.name), {**entry.data, **variant.data}
    if encoders.FIELD not in entry.needs:
        return config_changes, declared
    config = entry.config().override({**variant.model, **config_changes}, entry.name)
    encoder = encoders.keep(getattr(config, encoders.FIELD), entry.name)
    asked = encoders.tokenizer_by_content(changes_of(changes, "data"))
    if (asked.get("tokens", "subwords"), asked.get("tokenizer", encoder.tokenizer)) != ("subwords", encoder.tokenizer):
        raise SpecError(f"{entry.name} reads the subwords of its encoder; leave data.tokens and data.tokenizer out")
    return {**config_changes, encoders.FIELD: encoder.name}, {**declared, "tokenizer": encoder.tokenizer}


def _for_small_data(entry: Entry, variant: Variant, corpus: Corpus) -> dict[str, dict[str, Any]]:
    """The model's settings for small data, by target, if there are few training documents; without those of the variant."""
    documents = len(corpus.splits["train"]) - corpus.facts.get("validation_documents_in_training", 0)
    declared = entry.small_by_target if documents < SMALL else {entry.name: {}, "train": {}}
    by_variant = {entry.name: variant.model, "train": variant.train}
    return {
        target: {name: value for name, value in values.items() if name not in by_variant[target]}
        for target, values in declared.items()
    }


def check_changes(changes: Mapping[str, Any], models: Sequence[str]) -> None:
    """Raises SpecError for a change of anything but the data, the training and these models."""
    known = {"data", "train", *models}
    fields = {"data": DataSpec.model_fields, "train": TrainSpec.model_fields}
    full = {name: f"{part}.{name}" for part, names in fields.items() for name in names}
    for key in changes:
        target, dot, name = key.partition(".")
        if "@" in target:
            model = target.partition("@")[0]
            raise SpecError(f"--set {key}: settings hold for a model and all its variants; write {model}.…")
        if not dot or not name:
            like = full.get(closest(key, full))
            hint = f"; did you mean '{like}'?" if like else ""
            raise SpecError(f"--set {key}: write it as train.FIELD=VALUE, data.FIELD=VALUE or MODEL.FIELD=VALUE{hint}")
        if target not in known:
            raise SpecError(
                f"--set {key}: '{target}' is neither data, train nor a chosen model{nearest(target, known)}"
            )


def changes_of(changes: Mapping[str, Any], target: str) -> dict[str, Any]:
    """The changes to one target (data, train or a model), by field."""
    prefix = f"{target}."
    return {key.removeprefix(prefix): value for key, value in changes.items() if key.startswith(prefix)}


def _unused(train: TrainSpec, *, uses_trainer: bool) -> set[str]:
    """The training fields without effect. Raises SpecError if `monitor` is no metric."""
    if train.monitor not in {"auto", *objectives.MONITORS}:
        raise SpecError(
            f"train.monitor='{train.monitor}' is no metric to stop by{nearest(train.monitor, objectives.MONITORS)}"
        )
    return train.idle() if uses_trainer else TrainSpec.model_fields.keys() - {"monitor"}  # tuning uses it


def _layers(target: str, settings: Settings, by_layer: Mapping[str, Iterable[str]]) -> dict[str, str]:
    """The last layer in which each setting occurs."""
    last = {name: layer for layer, names in by_layer.items() for name in names}
    return {f"{target}.{name}": last[name] for name in type(settings).model_fields}


def _differing(default: Settings, chosen: Settings) -> dict[str, Any]:
    """The fields whose value is not the default."""
    values = chosen.model_dump(mode="json")
    return {name: values[name] for name in values if getattr(default, name) != getattr(chosen, name)}
