/* A stand-in for NVIDIA's NVML (libnvidia-ml.so.1), for hosts without a GPU: answers what nvidia-ctk 1.17.8 to 1.20.2 and our nvidia-smi.c ask.
 * GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Signatures, structures and numbers: nvml.h of NVML 13.3.29, as in go-nvml v0.13.3-1 (pkg/nvml/nvml.h).
 * Which functions are asked for: go-nvlib v0.12.0 (pkg/nvlib/device, pkg/nvlib/info) and nvidia-container-toolkit v1.20.0
 * (pkg/nvcdi, internal/platform-support/dgpu, internal/info). What they look up with dlsym and may miss is left out.
 * GPUs: tests/fakes/gpu/recordings/a5000-two__590.44.01.txt (name, UUIDs, PCI addresses and ids, memory, driver and CUDA version); the
 * brand of an RTX A5000 and the sentences of errors are those of nvml.h, nvidia-smi 550.163.01 and that recording.
 * MIG devices (which an A5000 does not have): UUIDs in the form of tests/fakes/gpu/recordings/h200-mig__610.43.02.txt, for GPU 0, of the
 * profile 1g.6gb that other GPUs with 24 GB have, with one GPU instance and one compute instance each.
 *
 * As with the real one, a process sees the GPUs whose device files it has: a container gets those it was given.
 * The file /run/stand-in-nvml, one word, changes the state: not-loaded, mismatch, no-devices or mig.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#ifndef DRIVER
#error "give -DDRIVER=\"590.44.01\""
#endif
#define PUBLIC __attribute__((visibility("default")))
#define GPUS 2
#define INSTANCES 2 /* MIG devices on GPU 0 */
#define INSTANCE_MB 5952
#define GPU_PROFILE 14

typedef enum {
    SUCCESS = 0,
    UNINITIALIZED = 1,
    INVALID_ARGUMENT = 2,
    NOT_SUPPORTED = 3,
    NOT_FOUND = 6,
    INSUFFICIENT_SIZE = 7,
    DRIVER_NOT_LOADED = 9,
    LIB_RM_VERSION_MISMATCH = 18,
    UNKNOWN = 999
} nvmlReturn_t;

typedef struct device {
    unsigned int minor;
    const char *uuid;
    struct device *parent; /* of a MIG device */
    unsigned int gpu_instance;
} *nvmlDevice_t;

typedef struct {
    char busIdLegacy[16];
    unsigned int domain, bus, device, pciDeviceId, pciSubSystemId;
    char busId[32];
} nvmlPciInfo_t;

typedef struct {
    unsigned long long total, free, used;
} nvmlMemory_t;

typedef struct {
    unsigned int multiprocessorCount, sharedCopyEngineCount, sharedDecoderCount, sharedEncoderCount, sharedJpegCount, sharedOfaCount;
    unsigned int gpuInstanceSliceCount, computeInstanceSliceCount;
    unsigned long long memorySizeMB;
} nvmlDeviceAttributes_t;

typedef struct {
    nvmlDevice_t device;
    unsigned int id, profileId, start, size;
} nvmlGpuInstanceInfo_t;

typedef struct {
    unsigned int id, isP2pSupported, sliceCount, instanceCount, multiprocessorCount;
    unsigned int copyEngineCount, decoderCount, encoderCount, jpegCount, ofaCount;
    unsigned long long memorySizeMB;
} nvmlGpuInstanceProfileInfo_t;

typedef struct {
    nvmlDevice_t device, gpuInstance;
    unsigned int id, profileId, start, size;
} nvmlComputeInstanceInfo_t;

typedef struct {
    unsigned int id, sliceCount, instanceCount, multiprocessorCount;
    unsigned int sharedCopyEngineCount, sharedDecoderCount, sharedEncoderCount, sharedJpegCount, sharedOfaCount;
} nvmlComputeInstanceProfileInfo_t;

typedef struct {
    unsigned int version;
    unsigned long long total, reserved, free, used;
} nvmlMemory_v2_t;

static struct device gpus[GPUS] = {
    {0, "GPU-12345678-aaaa-bbbb-cccc-0123456789ab", 0, 0},
    {1, "GPU-12345678-aaaa-bbbb-cccc-0123456789ac", 0, 0},
};
static const unsigned int buses[GPUS] = {0x81, 0xc1};
static struct device instances[INSTANCES] = {
    {0, "MIG-99999999-8888-7777-6666-555555555555", &gpus[0], 1},
    {0, "MIG-99999999-8888-7777-6666-444444444444", &gpus[0], 2},
};
static int users;

static int state_is(const char *word)
{
    char text[32] = "";
    FILE *file = fopen("/run/stand-in-nvml", "r");
    if (!file)
        return 0;
    if (fscanf(file, "%31s", text) != 1)
        text[0] = 0;
    fclose(file);
    return strcmp(text, word) == 0;
}

static int present(const struct device *gpu)
{
    char path[32];
    struct stat found;
    snprintf(path, sizeof path, "/dev/nvidia%u", gpu->minor);
    return stat(path, &found) == 0 && S_ISCHR(found.st_mode) && found.st_rdev == makedev(195, gpu->minor);
}

static nvmlReturn_t put(char *target, unsigned int length, const char *text)
{
    if (!users)
        return UNINITIALIZED;
    if (strlen(text) >= length)
        return INSUFFICIENT_SIZE;
    strcpy(target, text);
    return SUCCESS;
}

PUBLIC nvmlReturn_t nvmlInitWithFlags(unsigned int flags)
{
    (void)flags;
    if (state_is("not-loaded"))
        return DRIVER_NOT_LOADED;
    if (state_is("mismatch"))
        return LIB_RM_VERSION_MISMATCH;
    struct stat found;
    if (stat("/dev/nvidiactl", &found) != 0 || !S_ISCHR(found.st_mode) || found.st_rdev != makedev(195, 255))
        return DRIVER_NOT_LOADED;
    users++;
    return SUCCESS;
}

PUBLIC nvmlReturn_t nvmlInit_v2(void) { return nvmlInitWithFlags(0); }
PUBLIC nvmlReturn_t nvmlInit(void) { return nvmlInitWithFlags(0); }

PUBLIC nvmlReturn_t nvmlShutdown(void)
{
    if (!users)
        return UNINITIALIZED;
    users--;
    return SUCCESS;
}

PUBLIC const char *nvmlErrorString(nvmlReturn_t result)
{
    switch (result) {
    case SUCCESS: return "The operation was successful";
    case UNINITIALIZED: return "Uninitialized";
    case INVALID_ARGUMENT: return "Invalid Argument";
    case NOT_SUPPORTED: return "Not Supported";
    case NOT_FOUND: return "Not Found";
    case INSUFFICIENT_SIZE: return "Insufficient Size";
    case DRIVER_NOT_LOADED: return "Driver Not Loaded";
    case LIB_RM_VERSION_MISMATCH: return "Driver/library version mismatch";
    default: return "Unknown Error";
    }
}

PUBLIC nvmlReturn_t nvmlSystemGetDriverVersion(char *version, unsigned int length) { return put(version, length, DRIVER); }
PUBLIC nvmlReturn_t nvmlSystemGetNVMLVersion(char *version, unsigned int length) { return put(version, length, "13." DRIVER); }

PUBLIC nvmlReturn_t nvmlSystemGetCudaDriverVersion_v2(int *version)
{
    *version = 13010; /* 1000 * major + 10 * minor */
    return SUCCESS;
}

PUBLIC nvmlReturn_t nvmlSystemGetCudaDriverVersion(int *version) { return nvmlSystemGetCudaDriverVersion_v2(version); }

PUBLIC nvmlReturn_t nvmlDeviceGetCount_v2(unsigned int *count)
{
    if (!users)
        return UNINITIALIZED;
    *count = 0;
    for (int i = 0; i < GPUS && !state_is("no-devices"); i++)
        *count += present(&gpus[i]);
    return SUCCESS;
}

PUBLIC nvmlReturn_t nvmlDeviceGetCount(unsigned int *count) { return nvmlDeviceGetCount_v2(count); }

PUBLIC nvmlReturn_t nvmlDeviceGetHandleByIndex_v2(unsigned int index, nvmlDevice_t *device)
{
    if (!users)
        return UNINITIALIZED;
    for (int i = 0; i < GPUS; i++)
        if (present(&gpus[i]) && index-- == 0) {
            *device = &gpus[i];
            return SUCCESS;
        }
    return INVALID_ARGUMENT;
}

PUBLIC nvmlReturn_t nvmlDeviceGetHandleByIndex(unsigned int index, nvmlDevice_t *device) { return nvmlDeviceGetHandleByIndex_v2(index, device); }

PUBLIC nvmlReturn_t nvmlDeviceGetHandleByUUID(const char *uuid, nvmlDevice_t *device)
{
    if (!users)
        return UNINITIALIZED;
    for (int i = 0; i < GPUS; i++)
        if (present(&gpus[i]) && strcmp(uuid, gpus[i].uuid) == 0) {
            *device = &gpus[i];
            return SUCCESS;
        }
    for (int i = 0; i < INSTANCES && state_is("mig"); i++)
        if (strcmp(uuid, instances[i].uuid) == 0) {
            *device = &instances[i];
            return SUCCESS;
        }
    return NOT_FOUND;
}

PUBLIC nvmlReturn_t nvmlDeviceGetPciInfo_v3(nvmlDevice_t device, nvmlPciInfo_t *pci)
{
    memset(pci, 0, sizeof *pci);
    pci->bus = buses[device->minor];
    pci->pciDeviceId = 0x223110de;
    pci->pciSubSystemId = 0x147e10de;
    snprintf(pci->busIdLegacy, sizeof pci->busIdLegacy, "0000:%02X:00.0", pci->bus);
    snprintf(pci->busId, sizeof pci->busId, "00000000:%02X:00.0", pci->bus);
    return SUCCESS;
}

PUBLIC nvmlReturn_t nvmlDeviceGetHandleByPciBusId_v2(const char *address, nvmlDevice_t *device)
{
    if (!users)
        return UNINITIALIZED;
    for (int i = 0; i < GPUS; i++) {
        nvmlPciInfo_t pci;
        nvmlDeviceGetPciInfo_v3(&gpus[i], &pci);
        if (present(&gpus[i]) && (strcasecmp(address, pci.busId) == 0 || strcasecmp(address, pci.busIdLegacy) == 0)) {
            *device = &gpus[i];
            return SUCCESS;
        }
    }
    return NOT_FOUND;
}

PUBLIC nvmlReturn_t nvmlDeviceGetUUID(nvmlDevice_t device, char *uuid, unsigned int length) { return put(uuid, length, device->uuid); }
PUBLIC nvmlReturn_t nvmlDeviceGetName(nvmlDevice_t device, char *name, unsigned int length) { (void)device; return put(name, length, "NVIDIA RTX A5000"); }

PUBLIC nvmlReturn_t nvmlDeviceGetMinorNumber(nvmlDevice_t device, unsigned int *minor)
{
    *minor = device->minor;
    return SUCCESS;
}

PUBLIC nvmlReturn_t nvmlDeviceGetIndex(nvmlDevice_t device, unsigned int *index)
{
    *index = 0;
    for (unsigned int i = 0; i < device->minor; i++)
        *index += present(&gpus[i]);
    return SUCCESS;
}

PUBLIC nvmlReturn_t nvmlDeviceGetBrand(nvmlDevice_t device, int *brand)
{
    (void)device;
    *brand = 13; /* NVML_BRAND_NVIDIA_RTX */
    return SUCCESS;
}

PUBLIC nvmlReturn_t nvmlDeviceGetArchitecture(nvmlDevice_t device, unsigned int *architecture)
{
    (void)device;
    *architecture = 7; /* NVML_DEVICE_ARCH_AMPERE */
    return SUCCESS;
}

PUBLIC nvmlReturn_t nvmlDeviceGetCudaComputeCapability(nvmlDevice_t device, int *major, int *minor)
{
    (void)device;
    *major = 8;
    *minor = 6;
    return SUCCESS;
}

PUBLIC nvmlReturn_t nvmlDeviceGetMemoryInfo(nvmlDevice_t device, nvmlMemory_t *memory)
{
    (void)device;
    memory->total = 24564ULL << 20;
    memory->used = 451ULL << 20;
    memory->free = memory->total - memory->used;
    return SUCCESS;
}

PUBLIC nvmlReturn_t nvmlDeviceGetMemoryInfo_v2(nvmlDevice_t device, nvmlMemory_v2_t *memory)
{
    (void)device;
    memory->total = 24564ULL << 20;
    memory->reserved = 450ULL << 20;
    memory->used = 1ULL << 20;
    memory->free = memory->total - memory->reserved - memory->used;
    return SUCCESS;
}

PUBLIC nvmlReturn_t nvmlDeviceGetMigMode(nvmlDevice_t device, unsigned int *current, unsigned int *pending)
{
    if (!state_is("mig"))
        return NOT_SUPPORTED;
    *current = *pending = device->minor == 0;
    return SUCCESS;
}

PUBLIC nvmlReturn_t nvmlDeviceIsMigDeviceHandle(nvmlDevice_t device, unsigned int *is_mig)
{
    *is_mig = device->parent != 0;
    return SUCCESS;
}

PUBLIC nvmlReturn_t nvmlDeviceGetMaxMigDeviceCount(nvmlDevice_t device, unsigned int *count)
{
    *count = state_is("mig") && device->minor == 0 && !device->parent ? 7 : 0;
    return SUCCESS;
}

PUBLIC nvmlReturn_t nvmlDeviceGetMigDeviceHandleByIndex(nvmlDevice_t device, unsigned int index, nvmlDevice_t *instance)
{
    if (!state_is("mig"))
        return NOT_SUPPORTED;
    if (device->minor != 0 || index >= INSTANCES)
        return NOT_FOUND;
    *instance = &instances[index];
    return SUCCESS;
}

PUBLIC nvmlReturn_t nvmlDeviceGetDeviceHandleFromMigDeviceHandle(nvmlDevice_t instance, nvmlDevice_t *device)
{
    if (!instance->parent)
        return INVALID_ARGUMENT;
    *device = instance->parent;
    return SUCCESS;
}

PUBLIC nvmlReturn_t nvmlDeviceGetGpuInstanceId(nvmlDevice_t instance, unsigned int *id)
{
    if (!instance->parent)
        return INVALID_ARGUMENT;
    *id = instance->gpu_instance;
    return SUCCESS;
}

PUBLIC nvmlReturn_t nvmlDeviceGetComputeInstanceId(nvmlDevice_t instance, unsigned int *id)
{
    if (!instance->parent)
        return INVALID_ARGUMENT;
    *id = 0;
    return SUCCESS;
}

/* Handles of GPU instances and compute instances are those of the MIG device that has them. */

PUBLIC nvmlReturn_t nvmlDeviceGetAttributes_v2(nvmlDevice_t instance, nvmlDeviceAttributes_t *attributes)
{
    if (!instance->parent)
        return NOT_SUPPORTED;
    memset(attributes, 0, sizeof *attributes);
    attributes->multiprocessorCount = 14;
    attributes->gpuInstanceSliceCount = attributes->computeInstanceSliceCount = 1;
    attributes->memorySizeMB = INSTANCE_MB;
    return SUCCESS;
}

PUBLIC nvmlReturn_t nvmlDeviceGetAttributes(nvmlDevice_t instance, nvmlDeviceAttributes_t *attributes) { return nvmlDeviceGetAttributes_v2(instance, attributes); }

PUBLIC nvmlReturn_t nvmlDeviceGetGpuInstanceById(nvmlDevice_t device, unsigned int id, nvmlDevice_t *gpu_instance)
{
    for (int i = 0; i < INSTANCES; i++)
        if (instances[i].parent == device && instances[i].gpu_instance == id) {
            *gpu_instance = &instances[i];
            return SUCCESS;
        }
    return NOT_FOUND;
}

PUBLIC nvmlReturn_t nvmlGpuInstanceGetComputeInstanceById(nvmlDevice_t gpu_instance, unsigned int id, nvmlDevice_t *compute_instance)
{
    if (id != 0)
        return NOT_FOUND;
    *compute_instance = gpu_instance;
    return SUCCESS;
}

PUBLIC nvmlReturn_t nvmlGpuInstanceGetInfo(nvmlDevice_t gpu_instance, nvmlGpuInstanceInfo_t *info)
{
    *info = (nvmlGpuInstanceInfo_t){gpu_instance->parent, gpu_instance->gpu_instance, GPU_PROFILE, gpu_instance->gpu_instance, 1};
    return SUCCESS;
}

PUBLIC nvmlReturn_t nvmlComputeInstanceGetInfo_v2(nvmlDevice_t compute_instance, nvmlComputeInstanceInfo_t *info)
{
    *info = (nvmlComputeInstanceInfo_t){compute_instance->parent, compute_instance, 0, 0, 0, 1};
    return SUCCESS;
}

PUBLIC nvmlReturn_t nvmlComputeInstanceGetInfo(nvmlDevice_t compute_instance, nvmlComputeInstanceInfo_t *info) { return nvmlComputeInstanceGetInfo_v2(compute_instance, info); }

PUBLIC nvmlReturn_t nvmlDeviceGetGpuInstanceProfileInfo(nvmlDevice_t device, unsigned int profile, nvmlGpuInstanceProfileInfo_t *info)
{
    (void)device;
    if (profile != 0) /* NVML_GPU_INSTANCE_PROFILE_1_SLICE */
        return NOT_SUPPORTED;
    memset(info, 0, sizeof *info);
    info->id = GPU_PROFILE;
    info->sliceCount = 1;
    info->instanceCount = 4;
    info->multiprocessorCount = 14;
    info->memorySizeMB = INSTANCE_MB;
    return SUCCESS;
}

PUBLIC nvmlReturn_t nvmlGpuInstanceGetComputeInstanceProfileInfo(nvmlDevice_t gpu_instance, unsigned int profile, unsigned int engines, nvmlComputeInstanceProfileInfo_t *info)
{
    (void)gpu_instance;
    if (profile != 0 || engines != 0) /* NVML_COMPUTE_INSTANCE_PROFILE_1_SLICE, ..._ENGINE_PROFILE_SHARED */
        return NOT_SUPPORTED;
    memset(info, 0, sizeof *info);
    info->sliceCount = info->instanceCount = 1;
    info->multiprocessorCount = 14;
    return SUCCESS;
}
