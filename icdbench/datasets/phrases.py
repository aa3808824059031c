"""What the generators of synthetic notes share: tables of clinical phrases, paraphrases of code titles, random choices.

The text is our own; codes are named by paraphrases of their ICD-9-CM titles. The only randomness is `Generator.random()`
over PCG64, which is the same on every platform. A change here changes the documents of every generator.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from operator import itemgetter
from typing import TypeVar

import numpy as np

from icdbench.datasets import icd9

T = TypeVar("T")

LONG = 32  # letters; a longer title is always put in other words


def table(text: str) -> dict[str, list[str]]:
    """`key = item | item` per line; a line that starts with a space continues the one above."""
    rows = (row.partition(" = ") for row in re.sub(r"\n +", " ", text.strip()).splitlines())
    return {key: items.split(" | ") for key, _, items in rows}


def chances(items: Iterable[str]) -> dict[str, float]:
    """`428.0 .6` as code and probability."""
    return {code: float(chance) for code, chance in (item.split() for item in items)}


# Of these, a document has one at most, and then speaks of no other.
EXCLUSIVE = table("""
any = 428.0 428.22 428.32 | 584.9 584.5 | 401.9 403.90 | 585.9 585.6 | 585.9 403.90 | 250.00 250.40 | 272.4 272.0 | 491.21 496
  | 285.1 285.9 285.21 | 276.7 276.8 | 96.71 96.72 | 305.1 V15.82 | 410.71 412 | 36.15 V45.81 | 434.91 V12.54 | 174.9 V10.3
""")["any"]
# A mention that is not of the patient's present state can be a code of its own.
BECOMES = {
    ("410.71", "history"): "412",
    ("36.15", "history"): "V45.81",
    ("434.91", "history"): "V12.54",
    ("174.9", "history"): "V10.3",
    ("414.01", "family"): "V17.3",
    ("410.71", "family"): "V17.3",
}
# What comes suddenly, what is no disease, what can be over, what relatives have.
TRAITS = table("""
acute = 038.9 | 276.1 | 276.51 | 276.7 | 276.8 | 285.1 | 293.0 | 410.71 | 415.19 | 434.91 | 453.41 | 486 | 491.21 | 511.9
  | 518.81 | 578.9 | 584.5 | 584.9 | 599.0 | 785.52 | 995.92
status = 412 | V10.3 | V12.54 | V15.82 | V17.3 | V45.81 | V58.61 | V58.67
past = 038.9 | 174.9 | 285.1 | 410.71 | 415.19 | 434.91 | 453.41 | 486 | 578.9 | 584.9 | 599.0 | 36.07 | 36.15 | 37.22 | 45.13
  | 96.04 | 99.04
inherited = 162.9 | 174.9 | 250.00 | 272.4 | 311 | 345.90 | 401.9 | 410.71 | 414.01 | 427.31 | 428.0 | 434.91 | 453.41 | 496
  | 585.6
""")

# --- How it is said -----------------------------------------------------------------------------------------------------

# Parts of titles that nobody writes.
DROPPED = re.compile(
    r" *\([^)]*\)| *\[[^]]*\]|^(other and )?unspecified |,? (type ii or|organism|site|initial episode of care|not elsewhere"
    r" classified|not stated as uncontrolled|without mention of)\b[^,]*|, with .* stage i through .*|,? (or )?unspecified\b"
)
# Words of titles, without those parts and in lower case, and what clinicians write for them.
SYNONYMS = table("""
congestive heart failure = CHF | heart failure | congestive failure
chronic systolic heart failure = chronic systolic CHF | HFrEF | heart failure with reduced EF
chronic diastolic heart failure = chronic diastolic CHF | HFpEF | heart failure with preserved EF
essential hypertension = HTN | hypertension | high blood pressure
hypertensive chronic kidney disease = hypertensive CKD | hypertensive nephropathy | hypertensive nephrosclerosis
chronic kidney disease = CKD | chronic renal insufficiency | chronic renal failure
end stage renal disease = ESRD | end-stage kidney disease | end-stage renal failure
coronary atherosclerosis of native coronary artery = CAD | coronary artery disease | coronary disease
subendocardial infarction = NSTEMI | non-ST elevation MI | myocardial infarction
old myocardial infarction = old MI | prior MI
aortocoronary bypass status = old bypass grafts | previous bypass surgery
atrial fibrillation = AF | afib | paroxysmal atrial fibrillation
acute kidney failure with lesion of tubular necrosis = ATN | AKI due to tubular necrosis | acute tubular necrosis
acute kidney failure = AKI | acute renal failure | acute kidney injury
diabetes mellitus = DM2 | type 2 diabetes | diabetes
diabetes with renal manifestations = diabetic nephropathy | type 2 diabetes with nephropathy | DM2 with renal disease
hyperlipidemia = HLD | elevated lipids | dyslipidemia
pure hypercholesterolemia = hypercholesterolemia | high cholesterol
septicemia = sepsis | bacteremia | bloodstream infection
severe sepsis = severe sepsis with organ dysfunction | sepsis with organ failure
septic shock = shock due to infection | pressor-dependent sepsis
acute respiratory failure = hypoxic respiratory failure | respiratory failure
pneumonia = PNA | lower lobe pneumonia | community-acquired pneumonia
urinary tract infection = UTI | urosepsis | bladder infection
obstructive chronic bronchitis with exacerbation = COPD exacerbation | COPD flare | acute exacerbation of COPD
chronic airway obstruction = COPD | emphysema | chronic obstructive lung disease
hemorrhage of gastrointestinal tract = GI bleed | GIB | gastrointestinal bleeding
acute posthemorrhagic anemia = blood loss anemia | acute blood loss anemia
anemia in chronic kidney disease = renal anemia | anemia of CKD | anemia due to kidney disease
anemia = chronic anemia | low blood counts
long-term use of anticoagulants = chronic anticoagulation | long-term warfarin use
long-term use of insulin = insulin use at home | long-term insulin
hyperpotassemia = hyperkalemia | high potassium
hypopotassemia = hypokalemia | low potassium
hyposmolality and/or hyponatremia = hyponatremia | low sodium
dehydration = volume depletion | hypovolemia
cerebral artery occlusion with cerebral infarction = CVA | ischemic stroke | stroke | cerebral infarct
personal history of transient ischemic attack, and cerebral infarction without residual deficits = old stroke | prior TIA
personal history of breast cancer = treated breast cancer | past breast cancer
personal history of tobacco use = past tobacco use | former smoking
tobacco use disorder = tobacco abuse | nicotine dependence | active smoking
family history of ischemic heart disease = premature heart disease in the family
pleural effusion = effusion | fluid in the pleural space
depressive disorder = depression | MDD
anxiety state = anxiety | anxiety disorder
epilepsy = seizure disorder | seizures
acquired hypothyroidism = hypothyroidism | underactive thyroid
esophageal reflux = GERD | reflux | acid reflux
acute venous embolism and thrombosis of deep vessels of proximal lower extremity = DVT | femoral DVT | leg DVT
other pulmonary embolism and infarction = PE | pulmonary embolism | pulmonary embolus
delirium due to conditions classified elsewhere = delirium | acute delirium
mitral valve disorders = mitral regurgitation | MR | mitral valve disease
single internal mammary-coronary artery bypass = CABG | coronary bypass with a mammary graft | bypass surgery
left heart cardiac catheterization = cardiac cath | left heart cath | catheterization
coronary arteriography using two catheters = coronary angiography | coronary angiogram
insertion of drug-eluting coronary artery stent = drug-eluting stent placement | PCI with DES | coronary stenting
venous catheterization = central line placement | CVL placement | placement of a right IJ line
continuous invasive mechanical ventilation = mechanical ventilation | ventilator support | vent support
less than 96 consecutive hours = less than 96 hours | under four days
96 consecutive hours or more = more than 96 hours | over four days
insertion of endotracheal tube = intubation | endotracheal intubation | ETT placement
closed biopsy of bronchus = bronchoscopy with biopsy | bronchial biopsy
other endoscopy of small intestine = EGD | upper endoscopy
transfusion of packed cells = PRBC transfusion | transfusion of two units | red cell transfusion
diagnostic ultrasound of heart = TTE | echocardiogram | cardiac ultrasound
hemodialysis = HD | dialysis
malignant neoplasm = cancer | malignancy
acute myocardial infarction = acute MI | heart attack
fracture = fx | broken bone
history of = h/o
secondary to = 2/2 | due to
""")
# Findings and treatments that imply a code without its name; after + the drugs that it puts on the list of medications.
SIGNS = table("""
428.0 = {He} was diuresed with IV furosemide for leg edema and crackles. | BNP was high and the film showed vascular congestion.
  | + furosemide carvedilol
428.22 = The left ventricle was dilated with a long-standing low ejection fraction. | + carvedilol spironolactone
428.32 = Relaxation was impaired while the ejection fraction remained normal, as in prior years. | + furosemide
401.9 = Amlodipine was raised because pressures stayed in the 170s. | Pressures were controlled on home lisinopril.
  | + lisinopril amlodipine
403.90 = Creatinine was at its baseline of 2.1, attributed to years of high pressures. | + amlodipine labetalol
414.01 = A prior angiogram described a tight lesion of the LAD. | + aspirin atorvastatin metoprolol
410.71 = Troponin peaked at {n}.2 with ST depressions and heparin was started. | + clopidogrel aspirin
427.31 = Telemetry showed an irregularly irregular rhythm, slowed with diltiazem. | + warfarin diltiazem digoxin
584.9 = Creatinine rose from 1.0 to {n}.4 and recovered with fluids. | Urine output fell and creatinine doubled, then recovered.
584.5 = Muddy brown casts were seen and creatinine was slow to recover.
585.9 = Creatinine was stable at its known baseline of 2.2. | + calcitriol
585.6 = {He} makes little urine and has a working fistula. | + sevelamer cinacalcet
250.00 = Fingersticks ran in the 200s and metformin was resumed. | Hemoglobin A1c was 8.{n}. | + metformin glipizide
250.40 = Urine showed heavy protein after years of poor glucose control. | + metformin lisinopril
272.4 = Home atorvastatin was continued for {his} lipids. | + simvastatin atorvastatin
272.0 = Total cholesterol was 290 with normal triglycerides. | + pravastatin
038.9 = Blood cultures grew gram negative rods in four bottles. | + ceftriaxone
995.92 = Lactate rose to {n}.1 with falling urine output and mental status.
785.52 = Norepinephrine was needed to keep the MAP above 65 despite fluids.
518.81 = {He} was hypoxic on a nonrebreather and tired quickly.
486 = A film showed a new consolidation and levofloxacin was given. | + levofloxacin
599.0 = The urine was cloudy and grew E. coli, treated with ciprofloxacin. | + ciprofloxacin
491.21 = Wheezing settled with prednisone, azithromycin and nebulizers. | + prednisone azithromycin
496 = Home tiotropium was continued and old spirometry showed obstruction. | + tiotropium albuterol
305.1 = {He} smokes a pack a day. | {He} was counseled to quit smoking and given a nicotine patch. | + nicotine
V15.82 = {He} quit smoking many years ago. | {He} smoked a pack a day until [**2001**].
578.9 = {He} had melena and maroon stool in the emergency room. | + pantoprazole
285.1 = Hematocrit fell from 36 to 2{n} overnight with the bleeding.
285.9 = Hematocrit was stable at 30, its known level. | + iron
285.21 = Epoetin was given for a hematocrit of 29. | + epoetin
276.7 = Potassium was high at 6.{n} with peaked T waves. | + kayexalate
276.8 = Potassium was low and was repleted daily. | + potassium
276.1 = Sodium was low on arrival and rose with fluid restriction.
276.51 = Mucous membranes were dry and {he} received three liters of saline.
V58.61 = The INR was checked and the home dose of warfarin adjusted. | + warfarin
V58.67 = Home glargine was continued each evening. | + glargine
434.91 = MRI showed restricted diffusion in the left MCA territory. | + clopidogrel aspirin
453.41 = Ultrasound showed a noncompressible femoral vein. | + enoxaparin warfarin
415.19 = A CT angiogram showed filling defects in both lower lobes. | + enoxaparin
511.9 = The film showed blunting of the right costophrenic angle.
311 = Home sertraline was continued for {his} mood. | + sertraline citalopram
300.00 = Lorazepam was used as needed for nerves. | + lorazepam
345.90 = Home levetiracetam was continued and no spells were seen. | + levetiracetam
244.9 = TSH was normal on levothyroxine. | + levothyroxine
530.81 = Omeprazole was continued for heartburn. | + omeprazole
278.00 = BMI was 38.
37.22 = Access was through the radial artery and filling pressures were recorded.
38.93 = Pressors ran through a line placed in the right internal jugular vein.
96.04 = {He} was intubated in the emergency room.
96.71 = {He} was extubated the next morning.
96.72 = {He} was extubated after ten days on the ventilator.
99.04 = {He} received two units of blood.
39.95 = {He} was dialyzed on the usual schedule.
45.13 = The scope showed a clean ulcer in the duodenum.
88.72 = The study of the heart showed normal wall motion.
36.07 = Two drug-coated stents were placed in the LAD. | + clopidogrel
""")
DRUGS = {code: items.pop()[2:].split() for code, items in SIGNS.items() if items[-1].startswith("+ ")}
# Sentences of each status, and the section that they belong to; an item of a list has no full stop.
SAID = table("""
stated acute = course: {He} was found to have {x}. | course: The course was complicated by {x}.
  | course: {X} was treated and improved. | course: {He} developed {x} on day {n}. | course: There was no doubt about {x}.
  | hpi: In the emergency room {he} was diagnosed with {x}. | course: {X}, not recognized at first, was confirmed.
  | course: Consultants agreed on {x}. | hpi: {He} was transferred from [**Hospital 42**] with {x}.
stated chronic = pmh: {x} | pmh: {x} | pmh: {x} | hpi: {He} is followed for {x}. | course: {X}: no change in management.
  | course: {X} remained stable. | hpi: {He} was never admitted for {x} before.
stated status = pmh: {x} | pmh: {x} | hpi: {His} history is notable for {x}.
stated procedure = procedures: {x} | procedures: {x} | course: {He} underwent {x}. | course: {X} was done without complication.
  | course: {X} went ahead on day {n}. | course: {X}, declined at first, was later done.
negated acute = course: There was no evidence of {x}. | course: Workup was negative for {x}.
  | course: {X} was considered but ruled out. | course: {He} never developed {x}.
  | course: {X} was felt to be unlikely and was not treated. | course: Concern for {x} was not confirmed.
  | hpi: {He} was first thought to have {x}, which was not confirmed.
negated chronic = hpi: {He} has no history of {x}. | hpi: {He} denied any history of {x}. | pmh: no known {x} | pmh: never had {x}
  | family: No family history of {x}. | course: {X} on an old problem list was an error. | course: {He} does not have {x}.
negated procedure = course: {X} was discussed and deferred. | course: {X} was not required. | course: {He} declined {x}.
  | course: The team held off on {x}. | course: {X} was judged unsafe and not done.
history acute = pmh: {x} in [**2009**], resolved | pmh: remote {x} | hpi: {He} had {x} several years ago. | pmh: h/o {x}
  | hpi: {He} was admitted in [**2008-4-12**] with {x}, now resolved.
history chronic = pmh: {x}, in remission since [**2004**] | pmh: remote {x} | hpi: {He} had {x} in the past.
history procedure = pmh: s/p {x} [**2007**] | pmh: prior {x} | hpi: {He} had {x} at [**Hospital1 18**] some years ago.
family = family: Father had {x}. | family: Mother with {x}. | family: {X} in a brother and an uncle.
  | family: Sister was treated for {x}. | family: Both parents had {x}.
implied = course: {X} | course: {X} | hpi: {X}
contrast = course: There was concern for {x}, but the final diagnosis was {y}. | course: {X} was ruled out and {y} was confirmed.
  | course: Findings pointed to {y} rather than {x}. | course: {Y}, not {x}, explained the picture.
  | course: {He} was treated for {y}, as {x} was not found. | course: In the end not {x} but {y} was diagnosed.
opening = hpi: {age}-year-old {man}{background} who presents with {complaint}. | hpi: {age}-year-old {man}{background} admitted for {complaint}.
  | hpi: This {age}-year-old {man}{background} came in with {complaint}.
""")
# Sentences without any code.
FILLER = table("""
hpi = Symptoms began {n} days before admission. | {He} denied chills and night sweats. | {His} appetite had been poor.
  | {His} daughter gave most of the history. | {He} reported no recent travel or sick contacts.
  | {He} first called {his} doctor, who sent {him} here. | {He} had felt tired for {n} weeks.
social = Lives with {his} son. | Former teacher, lives alone. | Drinks rarely and lives with family. | Moved here in [**1999**].
  | Lives on the second floor and does {his} own shopping.
family = Noncontributory. | Not known. | {He} was adopted.
exam = At discharge alert, lungs clear, abdomen soft. | Afebrile, pulse 8{n}, pressure 13{m}/76. | Walks with a cane, no rash.
  | Oriented to person, place and date. | Neck supple, no nodes, good distal pulses.
labs = Calcium 9.{n}, magnesium 2.0, albumin 3.{m}. | Liver enzymes were unremarkable. | Platelets 2{n}0, white count 9.{m}.
  | Amylase and lipase were normal. | Coagulation tests were within limits.
course = Diet was advanced as tolerated. | {He} worked with physical therapy. | The plan was discussed with the family.
  | {He} had no falls and no fever overnight. | Pain was well controlled. | Lines and drains were out by day {n}.
disposition = Discharged home with services. | Discharged to [**Hospital 7**] rehab in stable condition.
  | Follow up with Dr. [**Last Name**] in {n} weeks. | Home with {his} daughter; return if symptoms come back.
""")
COMMON_DRUGS = ["acetaminophen", "aspirin", "docusate", "heparin", "metoprolol", "multivitamin", "omeprazole", "senna"]
HEADERS = table("""
complaint = Chief Complaint | CC | Reason for Admission
procedures = Procedures | Major Surgical or Invasive Procedure
hpi = History of Present Illness | HPI | Present Illness
pmh = Past Medical History | PMH | PMHx
social = Social History | SH
family = Family History | FH
exam = Physical Exam | Exam
labs = Pertinent Results | Labs
course = Hospital Course | Brief Hospital Course
meds = Discharge Medications | Medications
diagnoses = Discharge Diagnoses | Discharge Diagnosis | Final Diagnoses
disposition = Disposition | Discharge Instructions
""")
LISTS = {"procedures", "pmh", "meds", "diagnoses"}
ORDERS = [
    "complaint procedures hpi pmh social family exam labs course meds disposition diagnoses",
    "complaint hpi pmh family social labs exam course procedures diagnoses meds disposition",
    "diagnoses complaint hpi course pmh meds social family exam labs procedures disposition",
]
WORDS = ("He", "he", "him", "His", "his", "man")
PEOPLE = [
    dict(zip(WORDS, WORDS, strict=True)),
    dict(zip(WORDS, ("She", "she", "her", "Her", "her", "woman"), strict=True)),
]
PHRASES = re.compile("|".join(re.escape(phrase) for phrase in sorted(SYNONYMS, key=len, reverse=True)))


class Dice:
    """The random choices of one document, all from `Generator.random()`."""

    def __init__(self, *seed: int) -> None:
        self._random = np.random.Generator(np.random.PCG64(seed)).random

    def share(self) -> float:
        """A number in [0, 1)."""
        return self._random()

    def luck(self, chance: float) -> bool:
        return self._random() < chance

    def number(self, low: int, high: int) -> int:
        return low + int(self._random() * (high - low + 1))

    def pick(self, items: Sequence[T]) -> T:
        return items[self.number(0, len(items) - 1)]

    def weighted(self, weights: Mapping[str, float]) -> str:
        marks = list(accumulate(weights.values()))
        return list(weights)[bisect_right(marks, self._random() * marks[-1], hi=len(marks) - 1)]

    def shuffled(self, items: Iterable[T]) -> list[T]:
        return [item for _, item in sorted(((self._random(), item) for item in items), key=itemgetter(0))]

    def fill(self, template: str, words: Mapping[str, str]) -> str:
        """The template with its words, and digits for `n` and `m`."""
        return template.format_map({**words, "n": self.number(2, 8), "m": self.number(1, 9)})


def title(code: str) -> str:
    return icd9.icd9cm_titles([code])[code]


def capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def paraphrase(official: str, dice: Dice) -> str:
    """Another way to say a title: without its qualifiers, in clinicians' words, what follows the comma last or first."""
    text = DROPPED.sub("", official.lower()).strip(" ,")
    text = re.sub(r"malignant neoplasm of (?:bronchus and )?(\w+)", r"\1 cancer", text)
    text = PHRASES.sub(lambda found: dice.pick(SYNONYMS[found[0]] + [found[0]] * (len(found[0]) < LONG)), text)
    head, _, rest = text.partition(", ")
    return f"{rest} {head}" if rest and dice.luck(0.5) else text


def excluded(code: str) -> set[str]:
    """The codes that it excludes, and itself."""
    return {code}.union(*(group.split() for group in EXCLUSIVE if code in group.split()))
