/* Answers two questions that Intel MKL, linked into torch, asks about the processor.
 *
 * MKL chooses its kernels (AVX-512, AVX2, SSE) by features only on processors of one vendor and takes a
 * generic path on all others. These two symbols, found before MKL's own ones because they are loaded
 * globally and earlier, answer "yes"; which kernels are used then depends on the features that the
 * processor reports, so no instruction is used that it lacks. Built and loaded by deepilc/blas/__init__.py.
 */

int mkl_serv_intel_cpu(void) { return 1; }

int mkl_serv_intel_cpu_true(void) { return 1; }
