"""Published results on the same data, for `icdbench tables --literature`: as printed, in percent, with their sources.

The key of a macro F1 says which of its three definitions was used, so that the table never mixes them. Not every system
listed here is among `icdbench models`.
"""

from __future__ import annotations

from icdbench.spec import Reported

CAML = "caml-mimic, README (github.com/jamesmullenbach/caml-mimic)"
MULTIRESCNN = "MultiResCNN, paper and README (github.com/foxlf823/Multi-Filter-Residual-Convolutional-Neural-Network)"
LAAT = "LAAT, README (github.com/aehrc/LAAT)"
MSMN = "MSMN, README (github.com/GanjinZero/ICD-MSMN)"
EDIN = "Edin et al., SIGIR 2023, doi:10.1145/3539618.3591918"
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
    per_code("mimic-full", "PLM-CA", "24.7", "60.0", EDIN_LATER),
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
