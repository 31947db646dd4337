/* A stand-in for NVIDIA's nvidia-smi: `nvidia-smi -L` from the library NVML (nvml.c), as the real one; the rest is replayed from recordings.
 * GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * A container gets this program from the host through CDI, as it gets the real one, so it needs nothing but the C library and NVML.
 * The lines of `-L` are those of tests/fakes/gpu/recordings/a5000-two__590.44.01.txt and h200-mig__610.43.02.txt; sentences and exit
 * codes of errors are those of no-library, no-driver, no-devices and unknown-error (550.163.01) and mismatch (565.57) there.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define REPLAY "/srv/fakes/gpu/nvidia-smi"

static void *library;

static int (*function(const char *name))()
{
    return (int (*)())dlsym(library, name);
}

static int failed(int code)
{
    const char *(*text)(int) = (const char *(*)(int))dlsym(library, "nvmlErrorString");
    if (code == 9) {
        puts("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. Make sure that the latest NVIDIA driver is installed and running.\n");
        return 9;
    }
    printf("Failed to initialize NVML: %s\n", text(code));
    if (code == 18)
        puts("NVML library version: " LIBRARY);
    return code == 999 ? 255 : code;
}

int main(int count, char **words)
{
    if (count != 2 || strcmp(words[1], "-L") != 0) {
        execv(REPLAY, words);
        puts("Invalid combination of input arguments. Please run 'nvidia-smi -h' for help.\n");
        return 2;
    }
    library = dlopen("libnvidia-ml.so.1", RTLD_NOW);
    if (!library) {
        puts("NVIDIA-SMI couldn't find libnvidia-ml.so library in your system. Please make sure that the NVIDIA Display Driver is properly installed and present in your system.\nPlease also try adding directory that contains libnvidia-ml.so to your system PATH.");
        return 12;
    }
    int code = function("nvmlInit_v2")();
    if (code)
        return failed(code);
    unsigned int found = 0, parts = 0;
    function("nvmlDeviceGetCount_v2")(&found);
    for (unsigned int i = 0; i < found; i++) {
        void *gpu, *part;
        char name[96], uuid[96];
        function("nvmlDeviceGetHandleByIndex_v2")(i, &gpu);
        function("nvmlDeviceGetName")(gpu, name, sizeof name);
        function("nvmlDeviceGetUUID")(gpu, uuid, sizeof uuid);
        printf("GPU %u: %s (UUID: %s)\n", i, name, uuid);
        function("nvmlDeviceGetMaxMigDeviceCount")(gpu, &parts);
        for (unsigned int j = 0; j < parts && !function("nvmlDeviceGetMigDeviceHandleByIndex")(gpu, j, &part); j++) {
            function("nvmlDeviceGetUUID")(part, uuid, sizeof uuid);
            printf("  MIG 1g.6gb      Device  %u: (UUID: %s)\n", j, uuid);
        }
    }
    if (!found) {
        puts("No devices were found");
        return 6;
    }
    return 0;
}
