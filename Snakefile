# What depends on what: stacks are simulated, then a notebook per (model, setting, F, seed) trains and scores.
# `make figures` starts this through companion/batch/starter.py. By hand:
#   snakemake --cores 2 --config target=figures profile=smoke seeds="0 1"
import json
import sys

from companion.batch import plan
from companion.profiles import read_profile

PAGE = "runs/{profile}/{data}/{group}/train.ipynb"
SEEDS = plan.read_seeds(str(config.get("seeds", 0)))
JOBS = {
    job.page: job
    for job in plan.jobs(
        config.get("target", "figures"),
        config.get("profile", "laptop"),
        SEEDS,
        str(config.get("settings") or "").split(),
        config.get("data", "simulated"),
        str(config.get("model") or ""),
    )
}


def job(wildcards):
    return JOBS[PAGE.format(**dict(wildcards.items()))]


rule all:
    input:
        list(JOBS),


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
        " --patch {params.patch} --out $(dirname {output:q}) --processes {threads} > {log:q} 2>&1"


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
        "{sys.executable:q} -m companion.photographs.public crop --split {wildcards.split} --count {params.stacks}"
        " --patch {params.patch} --out $(dirname {output:q}) > {log:q} 2>&1"


# Again when `identity` (config, weights, parameters) or the stacks change; runs that still fit are kept.
# A function for params must not name input, output, threads or resources: Snakemake would miss its changes.
rule train:
    input:
        lambda w: job(w).stacks,
    output:
        PAGE,
    log:
        "runs/{profile}/{data}/{group}/train.log",
    params:
        identity=lambda w: job(w).identity,
        parameters=lambda w: json.dumps(job(w).parameters),
    priority: lambda w: job(w).cost
    resources:
        gpu=int(config.get("gpus", 0)),
    shell:
        "OMP_NUM_THREADS=1 FCL_GPU={resources.gpu} {sys.executable:q} -m companion.notebooks notebooks/train.ipynb {output:q}"
        " --parameters {params.parameters:q} > {log:q} 2>&1"
