#!/usr/bin/env python3
"""Static stand-ins for CUDA's libraries: trampolines.py CUDARC_SOURCES OUT_FOLDER

For every function that cudarc declares of libcuda, libnvrtc, libcublas and libcublasLt a trampoline: its first call opens the
real library and looks the function up; later ones jump there. Where there is none, the call returns 34, which is what CUDA's own
stub libraries say (CUDA_ERROR_STUB_LIBRARY); the program asks for the libraries before it calls anything
(src/kernels/cuda/libraries.rs).

The linker takes lib*.a where a folder holds no lib*.so; so a binary needs none of the libraries to start.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

# cudarc's module, the archive to make, the library to open.
LIBRARIES = [
    ("driver", "cuda", "libcuda.so.1"),
    ("nvrtc", "nvrtc", "libnvrtc.so.13"),
    ("cublas", "cublas", "libcublas.so.13"),
    ("cublaslt", "cublasLt", "libcublasLt.so.13"),
]

# Arguments of a call: six in registers, eight in vector registers, the rest on the stack, which is left as it is.
ASSEMBLY = """
    .text
    .hidden {name}_slots
    .hidden {name}_resolve
{name}_first:
    pushq %rdi; pushq %rsi; pushq %rdx; pushq %rcx; pushq %r8; pushq %r9; pushq %rax
    subq $128, %rsp
{save}
    movl %r11d, %edi
    call {name}_resolve
    movq %rax, %r11
{restore}
    addq $128, %rsp
    popq %rax; popq %r9; popq %r8; popq %rcx; popq %rdx; popq %rsi; popq %rdi
    jmp *%r11
{trampolines}
    .section .note.GNU-stack,"",@progbits
"""
TRAMPOLINE = """
    .globl {function}
    .type {function}, @function
{function}:
    movq {name}_slots+{offset}(%rip), %r11
    testq %r11, %r11
    jz 1f
    jmp *%r11
1:  movl ${index}, %r11d
    jmp {name}_first
"""
RESOLVER = """
#include <dlfcn.h>
__attribute__((visibility("hidden"))) void *{name}_slots[{count}];
static const char *const names[{count}] = {{{names}}};
static long missing(void) {{ return 34; }}
__attribute__((visibility("hidden"))) void *{name}_resolve(unsigned index) {{
    void *library = dlopen("{file}", RTLD_NOW | RTLD_GLOBAL);
    void *found = library ? dlsym(library, names[index]) : 0;
    return {name}_slots[index] = found ? found : (void *)missing;
}}
"""


def archive(sources, folder, module, name, file):
    functions = sorted(set(re.findall(r"pub fn (\w+)\s*\(", (sources / module / "sys.rs").read_text())))
    moves = [f"movups %xmm{i}, {16 * i}(%rsp)" for i in range(8)]
    back = [f"movups {16 * i}(%rsp), %xmm{i}" for i in range(8)]
    tag = f"dalle_{module}"
    trampolines = (TRAMPOLINE.format(function=f, name=tag, offset=8 * i, index=i) for i, f in enumerate(functions))
    assembly = ASSEMBLY.format(name=tag, save="; ".join(moves), restore="; ".join(back), trampolines="".join(trampolines))
    resolver = RESOLVER.format(name=tag, count=len(functions), names=", ".join(f'"{f}"' for f in functions), file=file)
    with tempfile.TemporaryDirectory() as work:
        work = Path(work)
        (work / "calls.s").write_text(assembly)
        (work / "open.c").write_text(resolver)
        objects = []
        for source in ["calls.s", "open.c"]:
            objects.append(work / (source + ".o"))
            subprocess.run(["gcc", "-c", "-O2", "-fPIC", str(work / source), "-o", str(objects[-1])], check=True)
        target = folder / f"lib{name}.a"
        target.unlink(missing_ok=True)
        subprocess.run(["ar", "crs", str(target), *map(str, objects)], check=True)
    print(f"cuda-env: {target.name}, {len(functions)} functions of {file}")


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    sources, folder = Path(sys.argv[1]), Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    for library in LIBRARIES:
        archive(sources, folder, *library)


if __name__ == "__main__":
    main()
