// SPDX-License-Identifier: Apache-2.0 OR MIT
/* A server of OpenCL 2.1 is one of 1.2, which has nothing of what came later. */
#define CL_TARGET_OPENCL_VERSION 300
#define CL_USE_DEPRECATED_OPENCL_1_2_APIS
#include "program.h"

static void versions(void)
{
	const cl_platform_info platform_names[] = {
		CL_PLATFORM_NUMERIC_VERSION, CL_PLATFORM_HOST_TIMER_RESOLUTION,
		CL_PLATFORM_EXTENSIONS_WITH_VERSION,
	};
	const cl_device_info device_names[] = {
		CL_DEVICE_NUMERIC_VERSION,    CL_DEVICE_SVM_CAPABILITIES,  CL_DEVICE_IL_VERSION,
		CL_DEVICE_MAX_NUM_SUB_GROUPS, CL_DEVICE_OPENCL_C_FEATURES, CL_DEVICE_PIPE_SUPPORT,
	};
	char text[1024];

	OK(clGetPlatformInfo(platform, CL_PLATFORM_VERSION, sizeof(text), text, NULL));
	EXPECT(strncmp(text, "OpenCL 1.2 ", 11) == 0);
	OK(clGetDeviceInfo(device, CL_DEVICE_VERSION, sizeof(text), text, NULL));
	EXPECT(strncmp(text, "OpenCL 1.2 ", 11) == 0);
	for (size_t i = 0; i < sizeof(platform_names) / sizeof(platform_names[0]); i++)
		STATUS(clGetPlatformInfo(platform, platform_names[i], sizeof(text), text, NULL),
		       CL_INVALID_VALUE);
	for (size_t i = 0; i < sizeof(device_names) / sizeof(device_names[0]); i++)
		STATUS(clGetDeviceInfo(device, device_names[i], sizeof(text), text, NULL),
		       CL_INVALID_VALUE);
}

static void functions(void)
{
	const cl_uint word = 0x07230203;
	cl_program program = build("__kernel void f(__global int *p) { *p = 1; }\n");
	cl_ulong time;
	cl_kernel kernel;
	size_t value;
	cl_int err;

	kernel = clCreateKernel(program, "f", &err);
	OK(err);
	EXPECT(clCloneKernel(kernel, &err) == NULL);
	STATUS(err, CL_INVALID_OPERATION);
	EXPECT(clCreateProgramWithIL(context, &word, sizeof(word), &err) == NULL);
	STATUS(err, CL_INVALID_OPERATION);
	STATUS(clSetProgramSpecializationConstant(program, 0, sizeof(word), &word),
	       CL_INVALID_OPERATION);
	STATUS(clGetKernelSubGroupInfo(kernel, device, CL_KERNEL_MAX_NUM_SUB_GROUPS, 0, NULL,
				       sizeof(value), &value, NULL),
	       CL_INVALID_OPERATION);
	STATUS(clGetHostTimer(device, &time), CL_INVALID_OPERATION);
	STATUS(clGetDeviceAndHostTimer(device, &time, &time), CL_INVALID_OPERATION);
	OK(clReleaseKernel(kernel));
	OK(clReleaseProgram(program));
}

/* Only those that images can be made of. */
static void formats(void)
{
	cl_image_format list[256];
	cl_uint count;

	OK(clGetSupportedImageFormats(context, CL_MEM_READ_WRITE, CL_MEM_OBJECT_IMAGE2D, 0, NULL, &count));
	EXPECT(count > 0 && count <= 256);
	OK(clGetSupportedImageFormats(context, CL_MEM_READ_WRITE, CL_MEM_OBJECT_IMAGE2D, count, list, NULL));
	for (cl_uint i = 0; i < count; i++) {
		const cl_image_desc desc = { .image_type = CL_MEM_OBJECT_IMAGE2D,
					     .image_width = 4, .image_height = 4 };
		cl_int err;
		cl_mem image = clCreateImage(context, CL_MEM_READ_WRITE, &list[i], &desc, NULL, &err);

		OK(err);
		OK(clReleaseMemObject(image));
	}
}

int main(void)
{
	open_device();
	versions();
	functions();
	formats();
	close_device();
	return finish();
}
