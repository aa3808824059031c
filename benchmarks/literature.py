"""Published results on the same data, for `icdbench tables --literature`: as printed, in percent, with their sources.

The key of a macro F1 says which of its three definitions was used, so that the table never mixes them. What was read in a
list of results, or in the documentation of another system, says so and is marked. Not every system listed here is among
`icdbench models`.
"""

from __future__ import annotations

from icdbench.spec import Reported

CAML = "caml-mimic, README (github.com/jamesmullenbach/caml-mimic)"
MULTIRESCNN = "MultiResCNN, paper and README (github.com/foxlf823/Multi-Filter-Residual-Convolutional-Neural-Network)"
LAAT = "LAAT, README (github.com/aehrc/LAAT)"
MSMN = "MSMN, README (github.com/GanjinZero/ICD-MSMN)"
EDIN = "Edin et al., SIGIR 2023, doi:10.1145/3539618.3591918"
CODEPAPERS = "OpenCodePapers (benchmarks/medical-code-prediction-on-mimic-iii)"
DUALLAAT = "DualLAAT, README"
COMIC = "COMIC, README"
LOPEZ_GARCIA = "López-García et al. 2021"
CLEF = "CLEF eHealth 2020, paper 212"
EDIN_LATER = "the successor of Edin et al. 2023 (github.com/JoakimEdin/explainable-medical-coding)"
ANEMIC = "AnEMIC, README, its preset 'old' (github.com/dalgu90/icd-coding-benchmark)"
BOYLE = "Boyle et al. 2023, arXiv:2310.06552"


def harmonic(dataset: str, system: str, macro: str, micro: str, source: str) -> Reported:
    """Report two F1 scores, the macro one defined as 2PR/(P+R)."""
    return Reported(
        dataset=dataset, system=system, figures={"f1_macro_harmonic": macro, "f1_micro": micro}, source=source
    )


def per_code(dataset: str, system: str, macro: str, micro: str, source: str) -> Reported:
    """Report two F1 scores, the macro one defined as the mean over all codes."""
    return Reported(dataset=dataset, system=system, figures={"f1_macro": macro, "f1_micro": micro}, source=source)


def present(dataset: str, system: str, macro: str, micro: str, source: str, read_in: str = "", **more: str) -> Reported:
    """Report two F1 scores, the macro one defined as the mean over the codes of the test documents, with more figures."""
    figures = {"f1_macro_present": macro, "f1_micro": micro, **more}
    return Reported(dataset=dataset, system=system, figures=figures, source=source, read_in=read_in, threshold="tuned")


def listed(
    dataset: str, system: str, source: str, read_in: str, macro: str = "f1_macro_harmonic", **figures: str
) -> Reported:
    """Report figures that were read elsewhere than at their source; `macro` is the key that `f1_macro` stands for."""
    keys = {"f1_macro": macro, "p8": "p@8", "p15": "p@15"}
    found = {keys.get(name, name): text for name, text in figures.items()}
    return Reported(dataset=dataset, system=system, figures=found, source=source, read_in=read_in)


REPORTED = (
    harmonic("mimic50", "CNN", "57.6", "62.5", CAML),
    harmonic("mimic50", "BiGRU", "48.4", "54.9", CAML),
    harmonic("mimic50", "CAML", "53.2", "61.4", CAML),
    harmonic("mimic50", "DR-CAML", "57.6", "63.3", CAML),
    harmonic("mimic50", "MultiResCNN", "60.6", "67.0", MULTIRESCNN),
    per_code("mimic50", "CNN", "58.3", "65.2", ANEMIC),
    per_code("mimic50", "CAML", "49.5 ± 3.5", "59.3 ± 2.0", ANEMIC),
    per_code("mimic50", "MultiResCNN", "59.0", "66.6 ± 1.3", ANEMIC),
    harmonic("mimic-full", "LR", "1.1", "27.2", CAML),
    harmonic("mimic-full", "CNN", "4.2", "41.9", CAML),
    harmonic("mimic-full", "BiGRU", "3.8", "41.7", CAML),
    harmonic("mimic-full", "CAML", "8.8", "53.9", CAML),
    harmonic("mimic-full", "DR-CAML", "8.6", "52.9", CAML),
    harmonic("mimic-full", "MultiResCNN", "8.5", "55.2", MULTIRESCNN),
    harmonic("mimic-full", "LAAT", "9.9", "57.5", LAAT),
    harmonic("mimic-full", "JointLAAT", "10.7", "57.5", LAAT),
    harmonic("mimic-full", "MSMN", "10.3", "58.4", MSMN),
    Reported(dataset="mimic-full", system="PLM-ICD", figures={"f1_micro": "58.9"}, source=EDIN),
    Reported(dataset="mimic-full", system="PLM-ICD", figures={"f1_micro": "59.5"}, source=EDIN_LATER),
    Reported(
        dataset="mimic-full",
        system="PLM-CA",
        figures={"f1_macro_present": "24.7", "f1_micro": "60.0"},
        source=EDIN_LATER,
    ),
    listed("mimic-full", "PLM-ICD", "PLM-ICD", CODEPAPERS, f1_macro="10.4", f1_micro="59.8"),
    listed(
        "mimic-full",
        "GKI-ICD",
        "GKI-ICD, Findings of ACL 2025",
        CODEPAPERS,
        "f1_macro",
        f1_macro="12.3",
        f1_micro="61.2",
        p8="77.7",
        p15="62.4",
        map="66.1",
    ),
    listed("mimic-full", "XR-LAT", "XR-LAT, arXiv:2212.05857", CODEPAPERS, f1_micro="60.8"),
    listed(
        "mimic-full",
        "MSMN + KEPTLongformer",
        "KEPT, Findings of EMNLP 2022",
        CODEPAPERS,
        f1_macro="11.8",
        f1_micro="59.9",
        p8="77.1",
        p15="61.5",
    ),
    listed(
        "mimic-full", "CoRelation", "CoRelation, COLING 2024", CODEPAPERS, f1_macro="10.2", f1_micro="59.1", p8="76.2"
    ),
    listed("mimic-full", "GP + reranker", "GP, AAAI 2023", CODEPAPERS, f1_macro="14.6", f1_micro="59.1"),
    listed("mimic-full", "EffectiveCAN", "EffectiveCAN", CODEPAPERS, f1_macro="10.6", f1_micro="58.9"),
    listed("mimic-full", "Discnet + RE", "Discnet", CODEPAPERS, f1_macro="14.0", f1_micro="58.8"),
    listed("mimic-full", "RAC", "RAC", CODEPAPERS, f1_macro="12.7", f1_micro="58.6"),
    listed("mimic50", "CD-LAAT", "CD-LAAT", CODEPAPERS, f1_macro="68.3", f1_micro="71.6"),
    listed("mimic-full", "CD-LAAT", "CD-LAAT", CODEPAPERS, f1_macro="12.0", f1_micro="57.1"),
    present("mimic-clean", "DualLAAT, trained on five sets", "33.1", "61.8", DUALLAAT, map="68.2"),
    present("mimic-clean", "DualLAAT, convolution", "27.2", "58.4", DUALLAAT),
    present("mimic-clean", "PLM-ICD", "26.6", "59.6", EDIN, DUALLAAT, map="64.6"),
    present("mimic4-icd9", "DualLAAT, trained on five sets", "34.9", "63.5", DUALLAAT, map="69.5"),
    present("mimic4-icd9", "DualLAAT, convolution", "29.1", "61.3", DUALLAAT),
    present("mimic4-icd9", "PLM-ICD", "29.8", "62.6", EDIN, DUALLAAT, map="68.0"),
    Reported(
        dataset="mimic4-icd10",
        system="PLM-ICD",
        figures={
            "auc_macro": "96.6",
            "auc_micro": "99.2",
            "f1_macro_present": "21.1",
            "f1_micro": "58.5",
            "p@8": "69.9",
            "p@15": "55.0",
            "r_precision": "57.9",
            "map": "61.9",
        },
        source=EDIN,
        threshold="tuned",
    ),
    Reported(
        dataset="mimic4-icd10",
        system="LAAT",
        figures={
            "auc_macro": "95.4",
            "auc_micro": "99.0",
            "f1_macro_present": "20.3",
            "f1_micro": "57.9",
            "p@8": "68.9",
            "p@15": "54.3",
            "r_precision": "57.2",
            "map": "60.6",
        },
        source=EDIN,
        threshold="tuned",
    ),
    present("mimic4-icd10", "DualLAAT, trained on five sets", "32.1", "58.4", DUALLAAT),
    present("mimic4-icd10", "DualLAAT, frequent codes", "30.8", "59.0", DUALLAAT, map="63.5"),
    present("mimic4-icd10", "DualLAAT, convolution", "28.2", "57.1", DUALLAAT),
    present("mimic4-icd10", "MultiResCNN", "21.1", "56.9", EDIN, CODEPAPERS),
    present("mimic4-icd10", "CAML", "16.0", "55.4", EDIN, CODEPAPERS),
    present("mimic4-icd10", "BiGRU", "10.6", "50.1", EDIN, CODEPAPERS),
    present("mimic4-icd10", "CNN", "8.0", "47.2", EDIN, CODEPAPERS),
    present("mimic4-icd10", "PLM-ICD, loss RAL", "24.5", "59.6", "RAL", COMIC),
    present("mimic4-icd10", "PLM-ICD, loss COMIC", "25.1", "59.5", COMIC),
    Reported(dataset="codiesp-d, Spanish", system="IAM", figures={"f1_micro": "68.7", "map": "52.1"}, source=CLEF),
    Reported(dataset="codiesp-d, Spanish", system="IXA", figures={"map": "59.3"}, source=CLEF),
    Reported(dataset="codiesp-d, Spanish", system="FLE", figures={"f1_micro": "67.9", "map": "51.9"}, source=CLEF),
    Reported(
        dataset="codiesp-d, Spanish", system="ensemble of transformers", figures={"map": "66.2"}, source=LOPEZ_GARCIA
    ),
    Reported(dataset="codiesp-d, Spanish", system="ICB-UMA (BERT)", figures={"map": "48.2"}, source=CLEF),
    Reported(dataset="codiesp-d", system="FHDO (BioBERT, XLNet)", figures={"map": "25.9"}, source=CLEF),
    Reported(
        dataset="codiesp-d", system="PLM-ICD", figures={"f1_macro_unstated": "21.6", "f1_micro": "21.9"}, source=BOYLE
    ),
    Reported(
        dataset="codiesp-d",
        system="LLM tree search",
        figures={"f1_macro_unstated": "22.5", "f1_micro": "15.7"},
        source=BOYLE,
    ),
)
