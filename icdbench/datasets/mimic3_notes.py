"""The notes of the synthetic tables in MIMIC-III's form: what is said of an admission whose codes are drawn.

A case (see `icdbench.datasets.mimic3_cases`) becomes a discharge summary of about 1,500 words: most codes are named, in changing
words and often more than once, some only implied, some not at all, among diseases that are denied, past or a relative's, and
much that stands for nothing: tables of laboratory values, daily course, medications, instructions.

The text is our own (see `icdbench.datasets.phrases`); only section names and laboratory abbreviations are what hospitals use.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache, partial

from icdbench.datasets import icd9
from icdbench.datasets.mimic3_cases import Case, category, is_procedure, world
from icdbench.datasets.phrases import (
    BECOMES,
    COMMON_DRUGS,
    DRUGS,
    FILLER,
    HEADERS,
    SAID,
    SIGNS,
    TRAITS,
    Dice,
    capital,
    excluded,
    paraphrase,
    table,
)

SILENT, IMPLIED = 0.10, 0.15  # how often a code is not mentioned, or only by a sign or a drug
AGAIN = 0.45  # how often a named code is named once more, and then once more
LISTED = 0.4  # how often a named code stands in the list of diagnoses too
MISSPELT = 0.04  # of mentions and of sentences
WIDTH = 78  # letters of a line
TOKENS, SPREAD = 1540, 0.47  # median length of a summary, and the standard deviation of its logarithm
SHORT = 0.006  # how often a summary is a few lines
COINED = 0.12  # of names, drugs and the like: made up, as brands and misspellings look to one who counts words

# Words of titles as they are often written.
ABBREVIATIONS = table("""
with = w/ | w | with
without = w/o | without
history = hx | history
chronic = chr | chronic
acute = ac | acute
fracture = fx | frx
infection = infxn | infection
disease = dz | disease
secondary = secondary | 2ary
bilateral = b/l | bilat
left = L | lt
right = R | rt
unspecified = NOS | unspec
abdominal = abd | abdominal
disorder = d/o | disorder
disorders = disorder | problems
status = status | s/p
syndrome = synd | syndrome
malignant = malig | malignant
hemorrhage = bleed | hemorrhage
insufficiency = insuff | insufficiency
complicating = in | complicating
complications = complications | compl
obstruction = blockage | obstruction
stenosis = narrowing | stenosis
repair = repair | repr
excision = removal | excision
lower = lower | low
intracranial = intracranial | IC
pulmonary = pulm | pulmonary
cardiac = cardiac | heart
renal = renal | kidney
hepatic = hepatic | liver
cerebral = cerebral | brain
""")
ABBREVIATED = re.compile(r"\b(" + "|".join(ABBREVIATIONS) + r")\b")
# Sentences of each status and kind beyond SAID; `cause` is an external cause.
MORE_SAID = table("""
stated acute = course: # {X}: {He} was seen by {service} and treated over {n} days. | course: {X} was noted on day {n} and followed by {service}.
  | hpi: Workup at [**Hospital{m} {k}**] showed {x}. | course: Team was concerned for {x}, later confirmed by {test}.
  | course: {X}, thought due to {finding}, got better with {drug}. | imaging: {test}: findings consistent with {x}.
  | course: # {X} - improved, {drug} stopped on [**{date}**]. | hpi: Pt sent in by {his} doctor for {x}.
stated chronic = pmh: {x} | pmh: {x} | pmh: {x}, followed by Dr. [**Last Name (STitle) {k}**] | pmh: {x} ([**{year}**])
  | course: # {X}: continued on {drug}. | course: # {X} - stable, home regimen unchanged. | hpi: Pt with known {x}, last seen in clinic {n} months ago.
stated status = pmh: {x} | pmh: {x} | social: {X} is noted in the record.
stated procedure = procedures: {x} | procedures: [**{date}**]: {x} | procedures: {x} on [**{date}**] | course: {He} went for {x} on [**{date}**] and did well.
  | course: S/p {x} on day {n}, with {finding} afterwards. | course: After {x} {he} was watched in the unit.
stated cause = hpi: Circumstances: {x}. | hpi: {He} came in after {x}. | course: The record gives {x} as the cause. | diagnoses: {x}
implied drug = course: {X} was continued as at home. | meds: {x} {dose} one tablet by mouth {often} | hpi: {He} takes {x} prescribed by {service}.
  | homemeds: {x} {dose} {often} | course: {Service} started {x} at {dose} with good effect.
negated acute = course: No sign of {x} on {test}. | hpi: Denies {x}. | imaging: {test}: no {x}. | exam: No {x}. | course: R/o {x}: negative.
negated chronic = pmh: no {x} | hpi: {He} denies {x}. | course: {Service} did not think that {he} has {x}.
negated procedure = course: {Service} saw no need for {x}. | course: Plans for {x} were given up.
negated cause = hpi: There was no {x}.
history acute = pmh: {x} [**{year}**], treated | pmh: {x} in the past
history procedure = pmh: s/p {x} | pmh: {x} in [**{year}**]
family = family: {Relative} had {x}. | family: {Relative} with {x} at age {k}. | family: Strong history of {x} ({relative}).
""")
# Sentences without any code; a line of FILLER counts too.
CHATTER = table("""
hpi = {He} was in {his} usual state of health until {n} days ago, when {he} noted {finding}. | {He} took {drug} without relief. | In the ED vitals were
  {temp}, {bp}, {k}, {sat}% on {oxygen}. | {He} had been seen at the {town} clinic {n} weeks before and was given {drug}. | Labs there were notable for {finding}.
  | {His} {relative} says that {he} has been {mood} since [**{date}**]. | Reports {finding} and {finding}, but no weight change. | Last {test} was in [**{month}**]
  at [**Hospital{m} {k}**]. | On arrival to the floor {he} appeared {mood}. | {He} moved to {town} from {town} in [**{year}**]. | {He} received {dose} of {drug} x{n}.
  | Review of systems otherwise negative, per {relative}. | {He} said "{finding} again" and asked for {his} {relative}.
social = Worked as a {job} in {town}. | Lives in {town} with {relative}. | Former {job}; {relative} is the health care proxy. | No tobacco since [**{year}**].
  | Three children, one in {town}. | Drinks {n} beers a week. | Retired {job}, walks with a {aid}. | Speaks {town} dialect, {relative} interprets.
allergies = {Drug} | {Drug} / {Drug} | No known allergies to drugs | {Drug} causes {finding} | Patient reports none recorded | {Brand} / {Drug} / {Drug}
exam = HEENT: {organ} normal, sclera anicteric | Neck: supple, JVP {n} cm, no bruits | Lungs: {side} base with {finding}, otherwise clear | CV: regular, {n}/6 murmur at the
  {side} border | Abd: soft, no {finding}, liver edge {n} cm | Ext: warm, {m}+ edema {side}, pulses {n}+ | Neuro: alert, {mood}, strength {n}/5 {side} | Skin: {finding} over the
  {side} {organ} | GEN: {mood}, in no distress | T {temp} BP {bp} HR {k} RR {n}{m} sat {sat}% {oxygen} | Wt {k}.{m}kg, {k}cm | Back: no tenderness, {finding} healed | Rectal: brown stool, tone normal
  | Lines: {size} {device} in the {side} arm, site clean | Psych: {mood}, insight fair
imaging = {test} [**{date}**]: {finding} of the {side} {organ}, measuring {size}, {change} compared with [**{date}**]. | {test}: The {organ} is {degree} enlarged. There is {degree} {finding} in the {side} {organ}.
  Recommend follow-up in {n} months. | {test} ([**Numeric Identifier {k}{big}**]): Limited by motion. Within these limits the {organ} and {organ} look {change}. | {test}: {device} in place with its tip in the {organ}.
  {Degree} {finding}, {change}. | {test}: EF {k}%. Left atrium {degree} dilated. Wall {size}. {Degree} regurgitation. Pressures of {k}mmHg.
micro = [**{date}**] {time} {organ} culture: {organism}, {k}k colonies. | [**{date}**] blood culture x{n}: no growth at {n} days. | [**{date}**] swab of {side} {organ}: rare {organism}; sensitive to {drug}.
  | [**{date}**] stool: negative for {organism}. | [**{date}**] sputum: {organism}, resistant to {drug} and {drug}.
course = On [**{date}**] {service} was called for {finding}; {test} was {change}. | {His} {drug} was changed to {dose} {often}. | Overnight {he} was {mood} and got {dose} {drug}. | By [**{month}**] {he} was {able} to walk {k}ft
  with a {aid}. | Nutrition: tolerated {k}cc/hr by tube, goal {k}. | {Test} on [**{date}**] showed {finding}, thought to be {change}. | A {size} {device} was placed at {time} by {service}. | {He} was transfused for Hct {k}.{m}.
  | Family meeting held with {relative} and Dr. [**First Name{n} (NamePattern{m}) {k}**] [**Last Name (NamePattern1) {big}**]. | {Service} advised {drug} {dose} {often} for {n} weeks. | FEN: electrolytes repleted, I/O {side} even at {volume}cc.
  | PPX: {drug}, bowel regimen. | Access: {device}. Code: full, confirmed with {relative}. | {He} was {able} to void after the catheter came out at {time}. | The {finding} was felt to be {degree} and needed no {test}.
  | {He} was transferred to the floor on day {n} in {mood} condition. | Pain was kept at {n}/10 with {drug} {dose}. | Cultures grew {organism} in {n} of {m} bottles, felt to be a contaminant. | Dr. {name} of {service} reviewed the {test}.
  | Case was discussed with {name} at {town}. | {He} asked about "{brand}" and was told to wait. | Followed by {name}/{name}.
instructions = You were admitted for {finding} and had {test}. | Please take {drug} {dose} {often} until you see Dr. [**Last Name (STitle) {k}**]. | Call if you have {finding}, {finding} or a temperature over {temp}F. | Do not drive while you take {brand}.
  | Keep the {side} {organ} dry for {n} days. | You may eat as before; drink {n} liters a day. | We stopped {drug} and started {brand}. | Weigh yourself each morning, call if you gain {n}lbs. | Your {device} must be flushed {often}. | No lifting over {k}lbs for {n} weeks.
followup = Dr. [**First Name8 (NamePattern2) {big}**] [**Last Name (NamePattern1) {k}**], [**{later}**] {time}, phone [**Telephone/Fax (1) {big}**] | {Service} clinic, {town}, [**{later}**] {time} | {test} in {n} weeks at [**Hospital{m} {k}**]
  | Please call {name} at [**Telephone/Fax (3) {big}**] | Provider: [**Name6 (MD) {big}**] {service} Date/Time:[**{later}**] {time}
meds = {Medication} {dose} {form} {often} | {Medication} {dose} {form} {often}. | {Medication} {dose} {form} {often} for {n} days.
  | {Medication} {dose} {form} {often} as needed for {finding}. | {Medication} {dose} {form} {often} until [**{later}**].
  | {Medication} {dose} {form} {often}, hold for SBP below {k}. | {Medication} {dose} {form} {often} #{k}, no refills.
  | {Medication} {dose} {form} {often} ({brand}).
homemeds = {Medication} {dose} {often} | {Medication} {dose} {form} {often} | {Medication} {often}
condition = Stable | Good, {mood} | Fair, {able} to walk with a {aid} | Mental status: {mood}. Walks with {aid}. | Afebrile, {mood}, {oxygen}
""")
# What stands in the braces. Capitalized names ({Drug}) capitalize.
SLOTS = table("""
form = tablet by mouth | PO | tab PO | capsule | capsule by mouth | IV | SC | solution by mouth | patch | puffs | drops
opening = This is a | Pt is a | The patient is a | Briefly, a | Ms./Mr. [**Known lastname **] is a | The pt. is a
came = who presents with | admitted for | transferred for | brought in with | here with | with
side = left | right | left | right | upper | lower | bilateral
organ = lung | liver | spleen | kidney | bladder | colon | groin | thigh | arm | forearm | shoulder | knee | ankle | chest wall | frontal lobe | parietal lobe | pelvis | sinus | orbit | thyroid | aorta | femoral vein | pancreas
  | gallbladder | neck | hip | wrist | heel | sacrum | abdomen
service = cardiology | neurology | nephrology | surgery | thoracic surgery | infectious disease | gastroenterology | hematology | oncology | psychiatry | social work | nutrition | physical therapy | pulmonary | endocrine
  | urology | vascular | orthopedics | dermatology | rheumatology | palliative care | speech therapy | plastics | pain service | wound care | geriatrics | hepatology
finding = fatigue | nausea | dizziness | a cough | swelling | redness | drainage | tenderness | a bruise | headache | itching | a rash | sweats | loose stools | poor sleep | thirst | cramps | numbness | stiffness | a hoarse voice
  | blurred vision | hiccups | opacity | asymmetry | a nodule | fluid | thickening | calcification | debris | motion artifact | a scar | low appetite | belching | ringing in the ears | a dry mouth | weak grip | guarding | crepitus
test = CXR | CT chest | CT head | CT abdomen and pelvis | MRI brain | MRI spine | TTE | TEE | EKG | RUQ ultrasound | renal ultrasound | EEG | KUB | barium swallow | bone scan | PET | ABG | CTA | V/Q scan | duplex | HIDA | stress test | plain film
change = unchanged | stable | improved | slightly worse | new | resolved | not seen before | less marked | more prominent | normal | unremarkable | equivocal
degree = mild | moderate | trace | minimal | marked | small | slight | severe | borderline
mood = comfortable | tired | anxious | alert | drowsy | pleasant | confused at times | restless | calm | tearful | quiet | talkative | improved | weak | stable
able = able | unable | able | slowly able | just able
relative = mother | father | sister | brother | daughter | son | wife | husband | aunt | uncle | cousin | niece | nephew | grandmother | partner | friend | neighbor | grandson
job = teacher | carpenter | nurse | driver | cook | clerk | baker | welder | painter | engineer | librarian | mason | tailor | janitor | accountant | fisherman | machinist | secretary | musician | barber | plumber | printer
aid = cane | walker | rolling walker | crutch | wheelchair | brace | quad cane | gait belt
oxygen = room air | RA | 2L NC | 3L | 4L NC | 5L face mask | 40% FM | NRB | CPAP | 6L
often = daily | twice a day | [**Hospital1 **] | QD | BID | TID | QHS | every six hours | q8h | q4h prn | q12h | weekly | at bedtime | three times daily | every other day | prn | QID | q6h
""")
# Units of doses, which are one word with their number (250mg); drugs beyond COMMON_DRUGS, which stand for nothing, and
# other names; syllables of made-up words.
WORDS = table("""
units = mg | mg | mg | mcg | g | ml | cc | l | units | meq | mg/day | mcg/hr | mg/kg | ml/hr | gtt | tabs | puffs | x
name = Smith | Lee | Brown | Walsh | Costa | Nguyen | Cohen | Murphy | Silva | Khan | Rossi | Park | Jensen | Novak | Ortiz
  | Weber | Dubois | Patel | Kim | Olsen | Moreau | Haas | Lopez | Evans | Fischer
town = Ashford | Milton | Quincy | Salem | Dover | Newport | Lowell | Camden | Bristol | Chester | Concord | Hudson | Medway | Norwood | Sharon
  | Weston | Stowe | Auburn | Berlin | Canton | Easton | Foxboro | Groton | Holden
brand = lasix | coumadin | ativan | zofran | percocet | colace | lopressor | plavix | lipitor | nexium | protonix | tylenol | dilaudid | neurontin
  | zocor | prilosec | xanax | valium | keppra | dilantin | bactrim | levaquin | flagyl | lovenox | haldol | zoloft
organism = escherichia coli | klebsiella | pseudomonas | MRSA | MSSA | enterococcus | candida | yeast | proteus | serratia | enterobacter
  | acinetobacter | streptococci | coag negative staph | C. difficile | gram positive cocci | gram negative rods
device = PICC line | foley | chest tube | NG tube | arterial line | dialysis catheter | pacemaker | port | drain | hickman | stent | filter
  | G tube | tracheostomy | ETT | sheath | splint
drug = acyclovir | allopurinol | amiodarone | ampicillin | atenolol | baclofen | bisacodyl | bumetanide | buspirone | captopril | cefazolin | cefepime | clonidine | codeine | colchicine |
  cyclobenzaprine | dexamethasone | diazepam | diclofenac | diphenhydramine | doxycycline | enalapril | erythromycin | famotidine | fentanyl | ferrous | fluconazole | fluoxetine |
  folate | gabapentin | gentamicin | guaifenesin | haloperidol | hydralazine | hydrocodone | hydroxyzine | ibuprofen | isosorbide | ketorolac | lactulose | latanoprost | lidocaine |
  loperamide | loratadine | meclizine | megestrol | methadone | methylprednisolone | metoclopramide | metolazone | metronidazole | mirtazapine | montelukast | morphine | naproxen |
  niacin | nitroglycerin | nystatin | olanzapine | ondansetron | oxycodone | paroxetine | phenytoin | piperacillin | prochlorperazine | propranolol | quetiapine | quinapril | ranitidine |
  rifampin | risperidone | sertraline | sucralfate | sulfamethoxazole | tamsulosin | terazosin | thiamine | tobramycin | tramadol | trazodone | valsartan | vancomycin | verapamil | zolpidem
onsets = b | br | c | ch | cr | d | dr | f | fl | g | gr | h | j | k | kl | l | m | n | p | pr | qu | r | s | sch | sl | st | t | tr | v | w | wr | y | z
vowels = a | e | i | o | u | ee | ou
middles = b | d | g | l | ll | lm | ln | m | nd | nn | nt | r | rd | rk | rn | rr | s | ss | st | t | tt | v | x | z | ck
""")
# Laboratory panels: name, lowest, highest and decimals of each value.
PANELS = [
    [
        (name, float(low), float(high), int(digits))
        for name, low, high, digits in (item.split() for item in panel.split(", "))
    ]
    for panel in (
        "WBC 3 19 1, RBC 2.6 5.2 2, Hgb 7.5 15 1, Hct 23 44 1, MCV 78 101 0, MCH 25 34 1, MCHC 31 36 1, RDW 12 19 1, Plt 60 480 0",
        "Glucose 68 260 0, UreaN 6 80 0, Creat 0.4 5.2 1, Na 126 149 0, K 3 5.9 1, Cl 92 114 0, HCO3 16 34 0, AnGap 7 20 0",
        "PT 11 26 1, PTT 22 80 1, INR 0.9 3.8 1",
        "ALT 8 240 0, AST 9 260 0, AlkPhos 35 320 0, TotBili 0.2 5.5 1, Lipase 8 150 0, Amylase 20 190 0",
        "Calcium 7.2 10.6 1, Phos 1.8 6.2 1, Mg 1.4 2.8 1, Albumin 2 4.6 1",
        "Neuts 38 93 1, Bands 0 12 0, Lymphs 3 46 1, Monos 1 12 1, Eos 0 6 1, Baso 0 2 1",
        "CK 20 900 0, CKMB 2 44 0, cTropnT 0.01 2.4 2, proBNP 120 9800 0",
        "pO2 48 260 0, pCO2 28 68 0, pH 7.18 7.55 2, calTCO2 18 38 0, Base -8 9 0, Lactate 0.7 6.4 1",
        "Color Yellow Yellow 0".replace("Yellow Yellow", "1 4")
        + ", SpGr 1 1.03 3, pH 5 8.5 1, UrobiL 0.2 4 1, RBC 0 90 0, WBC 0 80 0, Epi 0 9 0",
    )
]
# How made-up names, places, drugs, organisms and devices end; MIMIC-III's vocabulary too is mostly words of such rarity.
ENDINGS = table("""
name = son | man | ski | ez | ini | er | berg | ley | ov | ard | ein | aw
town = ton | ville | field | ford | ham | burg | wood | mont | dale | bury
drug = avir | olol | pril | statin | mab | azole | cillin | idine | azepam | oxin | amide | one | ine | erol
brand = ax | ex | il | or | ia | um | ix | ol
organism = ella | coccus | bacter | monas | ium | ia
device = port | stent | cath | flex | lok | vac
""")
COINAGES = {"name": 40_000, "town": 25_000, "drug": 30_000, "brand": 25_000, "organism": 20_000, "device": 20_000}
# Where the text that stands for nothing goes: groups of lines per thousand.
FILLING = {
    "labs": 190, "course": 330, "meds": 130, "exam": 60, "imaging": 90, "micro": 30, "instructions": 70, "followup": 25,
    "hpi": 90, "homemeds": 60, "social": 15,
}  # fmt: skip
MORE_HEADERS = table("""
allergies = Allergies | Allergies/Reactions | Drug allergies
imaging = Imaging | Studies | Radiology
micro = Microbiology | Micro
homemeds = Medications on Admission | Home Medications | Meds at home
instructions = Discharge Instructions | Instructions
followup = Followup Instructions | Follow-up | Appointments
condition = Discharge Condition | Condition on Discharge
disposition = Discharge Disposition | Disposition
""")
ALL_HEADERS = HEADERS | MORE_HEADERS
SECTION_ORDERS = [
    "allergies complaint procedures hpi pmh social family exam labs micro imaging course homemeds meds disposition diagnoses condition instructions followup",
    "allergies complaint hpi pmh homemeds social family exam labs imaging micro course procedures diagnoses condition disposition meds instructions followup",
    "complaint diagnoses procedures hpi pmh allergies homemeds social family exam labs micro imaging course meds condition disposition followup instructions",
    "hpi pmh homemeds allergies family social procedures exam labs imaging course condition disposition diagnoses meds followup",
]
LINES = {
    "procedures",
    "pmh",
    "meds",
    "homemeds",
    "diagnoses",
    "followup",
    "labs",
    "exam",
    "imaging",
    "micro",
    "allergies",
}
NUMBERED = {"procedures", "pmh", "meds", "homemeds", "diagnoses", "followup"}


@dataclass(frozen=True)
class Line:
    """A sentence, or an item of a list, and where in it (from, to) each code is mentioned."""

    text: str
    spans: tuple[tuple[str, int, int], ...] = ()


@dataclass
class Note:
    """A text and the codes that it supports, each with the characters [begin, end) that do so."""

    text: str
    spans: list[tuple[str, int, int]]


def coined(kind: str, number: int) -> str:
    """The made-up word of that number; different numbers below a kind's COINAGES give different words."""
    sizes = (
        len(WORDS["onsets"]),
        len(WORDS["vowels"]),
        len(WORDS["middles"]),
        len(WORDS["vowels"]),
        len(ENDINGS[kind]),
    )
    rest, parts = number * 7919 % math.prod(sizes), []  # a prime: neighbours differ in every syllable
    for size in sizes:
        rest, part = divmod(rest, size)
        parts.append(part)
    onset, first, middle, second, ending = parts
    return f"{WORDS['onsets'][onset]}{WORDS['vowels'][first]}{WORDS['middles'][middle]}{WORDS['vowels'][second] * (second < 4)}{ENDINGS[kind][ending]}"


class Blanks(dict[str, str]):
    """The words of one document for the braces of templates: the patient's, or drawn anew each time."""

    def __init__(self, dice: Dice, person: Mapping[str, str], day: date) -> None:
        super().__init__(person)
        self.dice, self.day = dice, day

    def __missing__(self, name: str) -> str:
        if name in SLOTS:
            return self.dice.pick(SLOTS[name])
        return DRAWN[name](self) if name in DRAWN else capital(self[name.lower()])

    def number(self, low: int, high: int) -> str:
        return str(self.dice.number(low, high))

    def called(self, kind: str) -> str:
        """A name of that kind, some made up by Zipf's law: the n-th most frequent with a probability proportional to 1/n."""
        if not self.dice.luck(COINED):
            return self.dice.pick(WORDS[kind])
        word = coined(kind, int(COINAGES[kind] ** self.dice.share()) - 1)
        return word.capitalize() if kind in {"name", "town"} else word

    def dose(self) -> str:
        usual = self.dice.luck(0.6)
        amount = self.dice.pick((5, 10, 20, 25, 40, 50, 100, 250, 500)) if usual else 5 * self.dice.number(1, 199)
        return f"{amount}{self.dice.pick(WORDS['units'])}"


# What stands in the braces of a template, but for SLOTS and the patient's words.
DRAWN: dict[str, Callable[[Blanks], str]] = {
    "n": lambda of: of.number(2, 8),
    "m": lambda of: of.number(1, 9),
    "k": lambda of: of.number(10, 99),
    "big": lambda of: of.number(100, 9999),
    "volume": lambda of: str(50 * of.dice.number(2, 90)),
    "date": lambda of: dashed(of.day - timedelta(of.dice.number(0, 9))),
    "later": lambda of: dashed(of.day + timedelta(of.dice.number(2, 60))),
    "month": lambda of: f"{of.day.year - of.dice.number(0, 3)}-{of.number(1, 12)}",
    "year": lambda of: str(of.day.year - of.dice.number(1, 20)),
    "time": lambda of: f"{of.number(1, 12)}:{of.dice.number(0, 59):02}{of.dice.pick('AP')}M",
    "bp": lambda of: f"{of.number(88, 180)}/{of.number(42, 99)}",
    "sat": lambda of: of.number(86, 100),
    "temp": lambda of: f"{of.number(96, 102)}.{of.number(0, 9)}",
    "dose": Blanks.dose,
    "medication": lambda of: of.dice.pick(COMMON_DRUGS) if of.dice.luck(0.4) else of["drug"],
    "size": lambda of: f"{of.number(1, 30)}x{of.number(1, 40)}{of.dice.pick(('mm', 'cm', 'Fr', ''))}",
    **{kind: partial(Blanks.called, kind=kind) for kind in COINAGES},
}


def kind(code: str) -> str:
    """What can be said of it: `acute` or `chronic` disease, `procedure`, `status` (no disease), external `cause`."""
    if is_procedure(code):
        return "procedure"
    if code[0] in "EV" or code in TRAITS["status"]:
        return "cause" if code[0] == "E" else "status"
    sudden = code in TRAITS["acute"] or code < "140" or code >= "780" or "acute" in known_title(code).lower()
    return "acute" if sudden else "chronic"


def known_title(code: str) -> str:
    return icd9.titles()[icd9.PROCEDURE if is_procedure(code) else icd9.DIAGNOSIS][code]


def misspelt(text: str, dice: Dice) -> str:
    """One word of it with a slip of the keys, or grown together with the next."""
    words = text.split(" ")
    i = dice.number(0, len(words) - 1)
    word = words[i]
    if len(word) < 5 or not word.isalpha():
        return text
    at = dice.number(1, len(word) - 2)
    match dice.number(0, 4):
        case 0:
            word = word[:at] + word[at + 1 :]
        case 1:
            word = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
        case 2:
            word = word[:at] + word[at] + word[at:]
        case 3:
            word = word[:at] + dice.pick("abcdefghijklmnopqrstuvwxyz") + word[at + 1 :]
        case _:
            return " ".join(words[:i]) + " " * (i > 0) + word + " ".join(words[i + 1 :])
    words[i] = word
    return " ".join(words)


def spoken(code: str, dice: Dice) -> str:
    """The code in a clinician's words."""
    parts = known_title(code).split(", ")
    phrase = paraphrase(", ".join(parts[: 2 if dice.luck(0.7) else None]), dice)
    if dice.luck(0.4):
        phrase = ABBREVIATED.sub(lambda found: dice.pick(ABBREVIATIONS[found[0]]), phrase)
    return misspelt(phrase, dice) if dice.luck(MISSPELT) else phrase


def said(template: str, blanks: Blanks, code: str = "", phrase: str = "") -> tuple[str, Line]:
    """The section, and the line that the template gives with the phrase for `{x}` or `{X}`; the phrase mentions the code."""
    section, _, text = template.partition(": ")
    before, mark, after = text.partition("{x}")
    if not mark:
        before, mark, after = text.partition("{X}")
        phrase = capital(phrase)
    first = before.format_map(blanks)
    span = ((code, len(first), len(first) + len(phrase)),) if code else ()
    return section, Line(first + phrase + after.format_map(blanks), span)


def sayings(status: str, code: str) -> list[str]:
    """The templates for a code in that status."""
    key = status if status == "family" else f"{status} {kind(code)}"
    return [*SAID.get(key, ()), *MORE_SAID.get(key, ())]


def mentions(code: str, dice: Dice, blanks: Blanks) -> list[tuple[str, Line]]:
    """Lines that name or imply the code; none for some codes."""
    if dice.luck(SILENT):
        return []
    found = []
    if dice.luck(IMPLIED):
        if code in SIGNS:
            found = [said(dice.pick(SAID["implied"]), blanks, code, dice.pick(SIGNS[code]).format_map(blanks))]
        elif kind(code) in {"acute", "chronic"}:  # its own drug, which nothing else is treated with
            drug = coined("drug", COINAGES["drug"] + ordinals()[code])
            found = [said(dice.pick(MORE_SAID["implied drug"]), blanks, code, drug)]
    while not found or (len(found) < 3 and dice.luck(AGAIN)):
        found.append(said(dice.pick(sayings("stated", code)), blanks, code, spoken(code, dice)))
    if dice.luck(LISTED) and not is_procedure(code):
        found.append(said("diagnoses: {x}", blanks, code, spoken(code, dice)))
    if code in DRUGS and dice.luck(0.5):
        found.append(said("meds: {x} {dose} {often}", blanks, code, dice.pick(DRUGS[code])))
    return found


@lru_cache(maxsize=1)
def ordinals() -> Mapping[str, int]:
    return {code: number for number, code in enumerate(sorted(world().weights))}


def distractors(case: Case, dice: Dice, blanks: Blanks, size: int) -> list[tuple[str, Line]]:
    """Lines that name codes without being so: denied, past, a relative's. None of a true code's category."""
    taken = {category(code) for code in case.codes}.union(*map(excluded, case.codes))
    found = []
    for _ in range(size):
        procedure = dice.luck(0.15)
        tail = world().own[case.topic.name, procedure] if dice.luck(0.7) else world().everything[procedure]
        code = dice.weighted(case.topic.codes) if dice.luck(0.5) else tail.draw(dice)
        inherited = kind(code) in {"acute", "chronic"} and code < "780"  # no injury is
        status = dice.pick(("negated", "negated", "history", *["family"] * inherited))
        templates = sayings(status, code)
        # A past or a relative's disease can be a code of its own, which would then have to be gold.
        if templates and category(code) not in taken and code not in taken and (code, status) not in BECOMES:
            section, line = said(dice.pick(templates), blanks, code, spoken(code, dice))
            found.append((section, Line(line.text)))
    return found


def panel(dice: Dice, blanks: Blanks) -> str:
    """A line of a table of laboratory values."""
    values = []
    for name, low, high, digits in dice.pick(PANELS):
        share = dice.share()
        values.append(f"{name}-{low + share * (high - low):.{digits}f}{'*' * (share > 0.85)}")
    return (
        f"[**{blanks['date']}**] {dice.number(1, 12):02}:{dice.number(0, 59):02}{dice.pick('AP')}M BLOOD "
        + " ".join(values)
    )


def filler(section: str, dice: Dice, blanks: Blanks) -> str:
    """A line of that section that stands for no code."""
    if section == "labs":
        return panel(dice, blanks)
    lines = FILLER[section] if section in FILLER and (section not in CHATTER or dice.luck(0.15)) else CHATTER[section]
    text = dice.pick(lines).format_map(blanks)
    return misspelt(text, dice) if dice.luck(MISSPELT) else text


def write(case: Case, dice: Dice, day: date) -> Note:
    """The discharge summary of an admission that ended on that day."""
    blanks = Blanks(dice, case.person, day)
    brief = dice.luck(SHORT)
    target = 0 if brief else TOKENS * math.exp(SPREAD * normal(dice))
    lines = [line for code in case.codes for line in mentions(code, dice, blanks)]
    if brief:
        lines = lines[:: 1 + len(lines) // 8]
    else:
        lines += distractors(case, dice, blanks, dice.number(3, 6 + int(target) // 250))
        lines += [
            (section, Line(filler(section, dice, blanks))) for section in ("disposition", "condition", "allergies")
        ]
    words = sum(line.text.count(" ") + 3 for _, line in lines)
    while words < target:
        section = dice.weighted(FILLING)
        for _ in range(dice.number(1, 4)):
            text = filler(section, dice, blanks)
            words += text.count(" ") + 1
            lines.append((section, Line(text)))
    sections = arranged(dice.shuffled(lines))
    age = f"{case.age}-year-old {case.person['man']}" if case.age else "newborn infant"
    complaint = dice.pick(case.topic.complaints)
    sections["complaint"] = [Line(capital(complaint))]
    sections["hpi"] = [Line(f"{blanks['opening']} {age} {blanks['came']} {complaint}."), *sections.get("hpi", [])]
    admitted, born = day - timedelta(dice.number(1, 14)), day - timedelta(365 * case.age + dice.number(0, 300))
    head = (
        f"Admission Date:  [**{dashed(admitted)}**]     Discharge Date:   [**{dashed(day)}**]\n\n"
        f"Date of Birth:  [**{dashed(born)}**]     Sex:   {'MF'[case.person['He'] == 'She']}\n\n"
        f"Service: {case.topic.service.upper()}\n\n"
    )
    by = f"{blanks['name']}, {blanks['service']}\nJob#: {dice.number(10000, 99999)} {initials(dice)}/{initials(dice)}"
    return rendered(head, sections, f"\n\nDictated by {by}\n", dice)


def arranged(lines: Iterable[tuple[str, Line]]) -> dict[str, list[Line]]:
    """The lines by section."""
    sections: dict[str, list[Line]] = {}
    for section, line in lines:
        sections.setdefault(section, []).append(line)
    return sections


def dashed(day: date) -> str:
    return f"{day.year}-{day.month}-{day.day}"


def initials(dice: Dice) -> str:
    return "".join(dice.pick("abcdeghjlmrst") for _ in range(dice.number(2, 3)))


def normal(dice: Dice) -> float:
    """A number from the standard normal distribution (Box and Muller)."""
    return math.sqrt(-2 * math.log(1 - dice.share())) * math.cos(2 * math.pi * dice.share())


def addendum(case: Case, dice: Dice, day: date) -> Note:
    """A second, short summary of the same stay, which may name codes that the first one does not."""
    blanks = Blanks(dice, case.person, day)
    codes = dice.shuffled(case.codes)[: dice.number(0, 2)]
    lines = [line for code in codes for line in mentions(code, dice, blanks)]
    for _ in range(dice.number(2, 12)):
        section = dice.pick(("course", "meds", "followup", "labs", "course", "instructions"))
        lines.append((section, Line(filler(section, dice, blanks))))
    head = (
        f"Name:  [**Known lastname {blanks['big']}**]     Unit No:  [**Numeric Identifier {blanks['big']}**]\n\n"
        f"Service: {case.topic.service.upper()}\n\nAddendum:\n"
    )
    return rendered(head, arranged(lines), "\n", dice)


def rendered(head: str, sections: Mapping[str, Sequence[Line]], signed: str, dice: Dice) -> Note:
    """The sections with their names and in some order, lines broken; spans are those of the whole text."""
    upper, newline, mark = dice.luck(0.25), dice.luck(0.7), dice.pick(("{}. ", "- ", "", "{}) ", "# "))
    parts, spans = [head], []
    at = len(head)
    for section in dice.pick(SECTION_ORDERS).split():
        if not (lines := sections.get(section)):
            continue
        name = dice.pick(ALL_HEADERS[section]) + ":"
        name = (name.upper() if upper else name) + ("\n" if newline or section in LINES else " ")
        parts.append(name)
        at += len(name)
        for number, line in enumerate(lines, 1):
            before = mark.format(number) if section in NUMBERED and newline else ""
            after = "\n" if section in LINES or number == len(lines) else "\n\n" if dice.luck(0.12) else " "
            spans += [(code, at + len(before) + begin, at + len(before) + end) for code, begin, end in line.spans]
            text = f"{before}{line.text}{after}"
            parts.append(text)
            at += len(text)
        parts.append("\n")
        at += 1
    parts.append(signed)
    return Note(broken("".join(parts)), spans)


def broken(text: str) -> str:
    """The text in lines of at most WIDTH letters. A blank becomes a line break, so no letter changes its place."""
    lines = []
    for paragraph in text.split("\n"):
        rest = paragraph
        while len(rest) > WIDTH and (cut := rest.rfind(" ", 1, WIDTH + 1)) > 0:
            lines.append(rest[:cut])
            rest = rest[cut + 1 :]
        lines.append(rest)
    return "\n".join(lines)
