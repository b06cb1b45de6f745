/* Lets User-Mode Linux 6.1 run on processors whose register state is larger than it knows.
 *
 * That kernel restores a process's registers by PTRACE_SETREGSET with the 2,696 bytes that it has
 * room for. The host takes nothing but its whole state (`xstateregs_set`), and on a processor with
 * AMX that has 11,008 bytes: each restoration fails with EFAULT, and init dies. This library stands
 * before the C library's ptrace, and completes what is given with what the process has.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>

typedef long ptrace_function(int, ...);

static ptrace_function *next;
/* One thread of that kernel traces, and its stacks are small. */
static char state[64 << 10];

__attribute__((constructor)) static void find(void)
{
    next = (ptrace_function *)dlsym(RTLD_NEXT, "ptrace");
}

long ptrace(enum __ptrace_request request, ...)
{
    va_list arguments;
    va_start(arguments, request);
    long pid = va_arg(arguments, long);
    void *address = va_arg(arguments, void *);
    void *data = va_arg(arguments, void *);
    va_end(arguments);

    struct iovec whole = { state, sizeof state };
    struct iovec *given = data;
    if (request == PTRACE_SETREGSET && (long)address == NT_X86_XSTATE &&
        next(PTRACE_GETREGSET, pid, address, &whole) == 0 && given->iov_len < whole.iov_len) {
        memcpy(state, given->iov_base, given->iov_len);
        data = &whole;
    }
    return next(request, pid, address, data);
}
