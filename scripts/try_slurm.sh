#!/bin/bash
# Tries profiles/slurm on a real Slurm of one node, set up here for the purpose: runs the smoke batch through sbatch,
# kills a job in the middle, goes on, and compares the results with those of the local batch, byte by byte.
# Needs root on Debian or Ubuntu, in a container or a virtual machine of yours. PYTHON: the project's, by default
# .venv/bin/python.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
python=$(realpath -s "${PYTHON:-$root/.venv/bin/python}")
[ "$(id -u)" = 0 ] || { echo "This sets up Slurm and needs root: run it in a container." >&2; exit 1; }
command -v slurmctld slurmd sbatch munged >/dev/null || RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive \
    apt-get install -y --no-install-recommends slurmctld slurmd slurm-client munge
conf=/etc/slurm/slurm.conf  # where srun looks for it inside a job
[ ! -e $conf ] || { echo "$conf is there already: this machine has a Slurm of its own." >&2; exit 1; }

work=$(mktemp -d /tmp/fcl-slurm.XXXXXX)
daemons=()
finish() {
    for id in "${daemons[@]}"; do kill "$id" 2>/dev/null || true; done
    rm -f $conf
    [ "${passed:-no}" = yes ] && rm -rf "$work" || echo "Stopped. Everything is in $work" >&2
}
trap finish EXIT

# Two fresh copies of the project.
for copy in local cluster; do
    mkdir "$work/$copy"
    git -C "$root" ls-files -z | tar -C "$root" --null -T - -cf - | tar -C "$work/$copy" -xf -
done
export OMP_NUM_THREADS=1

# Slurm: one node with two cores, without accounting.
mkdir "$work/state" "$work/spool" "$work/munge"
host=$(hostname -s)
mkdir -p /etc/slurm
cat > $conf <<CONF
ClusterName=try
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=17002
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$work/munge/socket
CryptoType=crypto/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
MinJobAge=3600
ReturnToService=2
StateSaveLocation=$work/state
SlurmdSpoolDir=$work/spool
SlurmctldPidFile=$work/slurmctld.pid
SlurmdPidFile=$work/slurmd.pid
NodeName=n1 NodeHostname=$host NodeAddr=127.0.0.1 Port=17001 CPUs=2 RealMemory=6000
PartitionName=all Nodes=n1 Default=YES MaxTime=INFINITE State=UP
CONF
dd if=/dev/urandom of="$work/munge/key" bs=128 count=1 status=none
chmod 600 "$work/munge/key"
chmod 711 "$work" "$work/munge"
munged --foreground --force --key-file="$work/munge/key" --socket="$work/munge/socket" --pid-file="$work/munge/pid" \
    --log-file="$work/munge/log" --seed-file="$work/munge/seed" > "$work/munge/said" 2>&1 & daemons+=($!)
sleep 1
slurmctld -D -c > "$work/slurmctld.log" 2>&1 & daemons+=($!)
slurmd -D -N n1 > "$work/slurmd.log" 2>&1 & daemons+=($!)
for _ in $(seq 60); do sinfo --noheader --states=idle --format=%n 2>/dev/null | grep -q n1 && break; sleep 1; done
sinfo

batch() {
    (cd "$work/cluster" && PYTHONPATH=$work/cluster "$python" -m snakemake --workflow-profile profiles/slurm --cores 2 \
        --default-resources mem_mb=2000 runtime=60 --config target=figures profile=smoke seeds=0) > "$work/batch.log" 2>&1
}
batch & first=$!
echo "waiting for a notebook to be in the middle of a training"
until compgen -G "$work/cluster/runs/smoke/simulated/*/.progress" >/dev/null; do
    kill -0 $first 2>/dev/null || { tail -20 "$work/batch.log"; exit 1; }
    sleep 0.2
done
victim=$(squeue --noheader --states=RUNNING --format=%i | head -1)
scancel --signal=KILL --full "$victim"
echo "killed job $victim"
if wait $first; then echo "the batch didn't notice that a job was killed" >&2; exit 1; fi
cp "$work/batch.log" "$work/batch-killed.log"
echo "going on"
batch || { tail -20 "$work/batch.log"; exit 1; }

(cd "$work/local" && PYTHONPATH=$work/local "$python" -m snakemake --cores 2 --config target=figures profile=smoke seeds=0 \
    > "$work/local.log" 2>&1) || { tail -20 "$work/local.log"; exit 1; }
count=0
while read -r -d '' file; do
    cmp "$work/local/$file" "$work/cluster/$file"
    count=$((count + 1))
done < <(cd "$work/local" && find runs -name '*.npz' -print0 -o -name '*.csv' -print0)
[ $count -gt 0 ] || { echo "nothing to compare" >&2; exit 1; }
passed=yes
echo "passed: $count files of predictions and curves are the same, through Slurm with a killed job and locally"
