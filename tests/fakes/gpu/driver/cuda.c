/* A stand-in for CUDA's libcuda.so.1, for hosts without a GPU: programs find it and load it, and it has no device.
 * GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Signatures and the number of CUDA_ERROR_NO_DEVICE: cuda.h of CUDA 13.0.
 */
#define NO_DEVICE 100

int cuInit(unsigned int flags)
{
    (void)flags;
    return NO_DEVICE;
}

int cuDriverGetVersion(int *version)
{
    *version = 13010;
    return 0;
}
