# What depends on what: stacks are simulated, then a notebook per (model, setting, F, seed) trains and scores; weights,
# tables, figures and claims are made of the runs. `make` starts this through companion/batch. By hand:
#   snakemake --cores 2 --config target=figures profile=smoke seeds="0 1"
import json
import sys

from companion.batch import plan
from companion.profiles import read_profile

PLAN = plan.make(**{name: value for name, value in config.items() if name != "gpus"})
CODE = plan.code_digest()


def tell(name, then=""):
    """End of a job's command: it says to a person that it is done, or its last words; everything else is in its log."""
    failed = "echo '! failed: " + name + " ({log})' >&2; tail -n 3 {log:q} | sed 's/^/!   /' >&2; exit 1"
    return " > {log:q} 2>&1 " + then + "&& echo '> done: " + name + "' >&2 || {{ " + failed + "; }}"


rule all:
    input:
        [goal for goal in PLAN.goals if goal != "weights"],


# Again when the profile asks for another number or size, or the code that decides a stack has other content.
rule simulate:
    input:
        plan.CODE,
    output:
        "data/{profile}/simulated/{split}/stacks.json",
    log:
        "data/{profile}/simulated/{split}.log",
    params:
        stacks=lambda w: read_profile(w.profile)[f"{w.split}_stacks"],
        patch=lambda w: read_profile(w.profile)["patch"],
    threads: workflow.cores
    shell:
        "{sys.executable:q} -m fcl.simulator --split {wildcards.split} --count {params.stacks}"
        " --patch {params.patch} --out $(dirname {output:q}) --processes {threads}" + tell("{wildcards.split} stacks")


# Patches of photographs, drawn anew when `make learnaf` has found others. The images stay in data/learnaf.
rule crop:
    input:
        plan.PHOTOGRAPHS,
    output:
        "data/{profile}/learnaf/{split}/stacks.json",
    log:
        "data/{profile}/learnaf/{split}.log",
    params:
        stacks=lambda w: read_profile(w.profile, data="learnaf")[f"{w.split}_stacks"],
        patch=lambda w: read_profile(w.profile)["patch"],
    shell:
        "{sys.executable:q} -m companion.photographs crop --split {wildcards.split} --count {params.stacks}"
        " --patch {params.patch} --out $(dirname {output:q})" + tell("{wildcards.split} stacks")


# Again when `identity` (config, weights, parameters) or the stacks change; runs that still fit are kept.
# A function for params must not name input, output, threads or resources: Snakemake would miss its changes.
rule train:
    input:
        lambda w: PLAN.jobs[f"runs/{w.profile}/{w.data}/{w.group}/train.ipynb"].stacks,
    output:
        "runs/{profile}/{data}/{group}/train.ipynb",
    log:
        "runs/{profile}/{data}/{group}/train.log",
    params:
        identity=lambda w: PLAN.jobs[f"runs/{w.profile}/{w.data}/{w.group}/train.ipynb"].identity,
        parameters=lambda w: json.dumps(PLAN.jobs[f"runs/{w.profile}/{w.data}/{w.group}/train.ipynb"].parameters),
    priority: lambda w: PLAN.jobs[f"runs/{w.profile}/{w.data}/{w.group}/train.ipynb"].cost
    resources:
        gpu=int(config.get("gpus", 0)),
    shell:
        "OMP_NUM_THREADS=1 FCL_GPU={resources.gpu} {sys.executable:q} -m companion.notebooks notebooks/train.ipynb {output:q}"
        " --parameters {params.parameters:q}" + tell("{wildcards.group}")


# experiments/weights.yml is written by hand too, so it is no output that Snakemake may remove: chosen whenever asked for.
rule weights:
    input:
        list(PLAN.jobs),
    log:
        "runs/weights.log",
    shell:
        "{sys.executable:q} -m companion.batch.selection --profile {PLAN.profile} --data {PLAN.data}"
        " --settings={PLAN.settings:q} --model={PLAN.model:q} > {log:q} 2>&1 && sed 's/^/> /' {log:q} >&2"
        " || {{ sed 's/^/! /' {log:q} >&2; exit 1; }}"


rule draw:
    input:
        list(PLAN.jobs),
    output:
        "{place}/{notebook}.ipynb",
    log:
        "{place}/{notebook}.log",
    wildcard_constraints:
        place="runs/rendering/.+|runs/[^/]+/figures(/learnaf)?",
        notebook="[^/]+",
    params:
        stored=PLAN.stored,
        code=CODE,
        cells=lambda w: plan.cells_digest(w.notebook),
        seeds=" ".join(map(str, PLAN.seeds)) if PLAN.jobs else "all",
    shell:
        "OMP_NUM_THREADS=1 {sys.executable:q} -m companion.batch.rendering {wildcards.notebook} {output:q} --seeds {params.seeds:q}"
        f" --profile {PLAN.profile} --data {PLAN.data} --source {PLAN.source}" + tell("{wildcards.notebook}")


# After the figures, whose numbers prose quotes.
rule claims:
    input:
        list(PLAN.notebooks),
        "experiments/claims.yml",
    output:
        "runs/rendering/{source}-{profile}-claims.txt",
    log:
        "runs/rendering/{source}-{profile}-claims.log",
    params:
        stored=PLAN.stored,
        code=CODE,
    shell:
        "{sys.executable:q} -m companion.claims --profile {wildcards.profile} --source {wildcards.source}"
        + tell("the claims of {wildcards.source}", then="&& cp {log:q} {output:q} ")
