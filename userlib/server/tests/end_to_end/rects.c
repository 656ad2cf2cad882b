// SPDX-License-Identifier: Apache-2.0 OR MIT
/*
 * Boxes of buffers: reading, writing and copying them, and what is refused. It
 * prints what it reads, which is the same with the vendor's own library.
 */
#include "program.h"

#define SIZE 4096

static unsigned char data[SIZE], back[SIZE];

static cl_mem filled(void)
{
	cl_int err;
	cl_mem mem = clCreateBuffer(context, CL_MEM_COPY_HOST_PTR, SIZE, data, &err);

	OK(err);
	return mem;
}

static unsigned sum(const unsigned char *bytes, size_t len)
{
	unsigned hash = 2166136261u;

	for (size_t i = 0; i < len; i++)
		hash = (hash ^ bytes[i]) * 16777619u;
	return hash;
}

static void show(const char *what, const unsigned char *bytes, size_t len)
{
	printf("%s: %08x\n", what, sum(bytes, len));
}

static void show_buffer(const char *what, cl_mem mem)
{
	OK(clEnqueueReadBuffer(queue, mem, CL_TRUE, 0, SIZE, back, 0, NULL, NULL));
	show(what, back, SIZE);
}

static const struct shape {
	size_t buffer[3], host[3], region[3], pitches[4];
} shapes[] = {
	{ { 0, 0, 0 }, { 0, 0, 0 }, { 16, 4, 2 }, { 0, 0, 0, 0 } },
	{ { 3, 2, 1 }, { 5, 1, 0 }, { 7, 3, 2 }, { 32, 256, 11, 44 } },
	{ { 3, 2, 1 }, { 5, 1, 1 }, { 7, 3, 3 }, { 32, 0, 0, 0 } },
	{ { 0, 0, 0 }, { 1, 2, 0 }, { 1, 1, 1 }, { 1, 1, 1, 2 } },
	{ { 4, 0, 2 }, { 0, 0, 0 }, { 8, 1, 4 }, { 8, 64, 8, 24 } },
	/* A row that begins behind the first one's end. */
	{ { 40, 0, 0 }, { 20, 0, 0 }, { 4, 3, 1 }, { 16, 0, 8, 0 } },
};

static void transfers(void)
{
	cl_mem mem = filled();
	cl_event event, other;
	cl_int status;

	for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
		const struct shape *s = &shapes[i];

		for (cl_bool blocking = CL_FALSE; blocking <= CL_TRUE; blocking++) {
			memset(back, 0xee, sizeof(back));
			OK(clEnqueueReadBufferRect(queue, mem, blocking, s->buffer, s->host, s->region,
						   s->pitches[0], s->pitches[1], s->pitches[2],
						   s->pitches[3], back, 0, NULL, &event));
			if (!blocking)
				OK(clWaitForEvents(1, &event));
			show("read", back, SIZE);
			OK(clGetEventInfo(event, CL_EVENT_COMMAND_TYPE, sizeof(status), &status, NULL));
			EXPECT(status == CL_COMMAND_READ_BUFFER_RECT);

			OK(clEnqueueWriteBufferRect(queue, mem, blocking, s->buffer, s->host, s->region,
						    s->pitches[0], s->pitches[1], s->pitches[2],
						    s->pitches[3], data + 100, 1, &event, &other));
			OK(clReleaseEvent(event));
			OK(clReleaseEvent(other));
			show_buffer("written", mem);
		}
	}
	OK(clReleaseMemObject(mem));
}

static void copies(void)
{
	const size_t zero[3] = { 0, 0, 0 }, origin[3] = { 3, 2, 1 }, region[3] = { 7, 3, 2 };
	const size_t beside[3] = { 10, 2, 1 }, across[3] = { 5, 3, 2 };
	cl_mem a = filled(), b = filled();

	OK(clEnqueueCopyBufferRect(queue, a, b, origin, zero, region, 32, 256, 7, 21, 0, NULL, NULL));
	show_buffer("copied", b);
	OK(clEnqueueCopyBufferRect(queue, a, a, origin, beside, region, 32, 256, 32, 256, 0, NULL,
				   NULL));
	show_buffer("copied within", a);
	STATUS(clEnqueueCopyBufferRect(queue, a, a, origin, across, region, 32, 256, 32, 256, 0, NULL,
				       NULL),
	       CL_MEM_COPY_OVERLAP);
	STATUS(clEnqueueCopyBufferRect(queue, a, a, origin, zero, region, 32, 256, 16, 256, 0, NULL,
				       NULL),
	       CL_INVALID_VALUE);
	STATUS(clEnqueueCopyBufferRect(queue, a, b, NULL, zero, region, 0, 0, 0, 0, 0, NULL, NULL),
	       CL_INVALID_VALUE);
	STATUS(clEnqueueCopyBufferRect(queue, a, b, zero, zero, region, 6, 0, 0, 0, 0, NULL, NULL),
	       CL_INVALID_VALUE);
	STATUS(clEnqueueCopyBufferRect(queue, a, b, zero, zero, region, 0, 0, 0, 20, 0, NULL, NULL),
	       CL_INVALID_VALUE);
	STATUS(clEnqueueCopyBufferRect(queue, a, b, zero, zero, region, 0, 3000, 0, 0, 0, NULL, NULL),
	       CL_INVALID_VALUE);
	OK(clReleaseMemObject(a));
	OK(clReleaseMemObject(b));
}

static cl_int reads(cl_mem mem, const size_t *origin, const size_t *region, const size_t *pitches,
		    void *to)
{
	static const size_t zero[3] = { 0, 0, 0 };

	return clEnqueueReadBufferRect(queue, mem, CL_TRUE, origin, zero, region, pitches[0],
				       pitches[1], pitches[2], pitches[3], to, 0, NULL, NULL);
}

static void mistakes(void)
{
	const size_t zero[3] = { 0, 0, 0 }, region[3] = { 8, 4, 2 }, far[3] = { 4089, 0, 0 };
	const size_t huge[3] = { SIZE_MAX, 0, 0 }, empty[3] = { 8, 0, 1 };
	const size_t none[4] = { 0, 0, 0, 0 }, row[4] = { 7, 0, 0, 0 }, slice[4] = { 8, 31, 0, 0 };
	const size_t multiple[4] = { 8, 36, 0, 0 }, host[4] = { 0, 0, 7, 0 };
	cl_mem mem = filled(), guarded, foreign;
	cl_context other;
	cl_int err;

	STATUS(reads(mem, zero, region, none, NULL), CL_INVALID_VALUE);
	STATUS(reads(mem, NULL, region, none, back), CL_INVALID_VALUE);
	STATUS(reads(mem, zero, NULL, none, back), CL_INVALID_VALUE);
	STATUS(reads(mem, far, region, none, back), CL_INVALID_VALUE);
	STATUS(reads(mem, zero, empty, none, back), CL_INVALID_VALUE);
	STATUS(reads(mem, zero, region, row, back), CL_INVALID_VALUE);
	STATUS(reads(mem, zero, region, slice, back), CL_INVALID_VALUE);
	STATUS(reads(mem, zero, region, multiple, back), CL_INVALID_VALUE);
	STATUS(reads(mem, zero, region, host, back), CL_INVALID_VALUE);
	STATUS(reads(NULL, zero, region, none, back), CL_INVALID_MEM_OBJECT);
	STATUS(clEnqueueReadBufferRect(NULL, mem, CL_TRUE, zero, zero, region, 0, 0, 0, 0, back, 0,
				       NULL, NULL),
	       CL_INVALID_COMMAND_QUEUE);
	STATUS(clEnqueueWriteBufferRect(queue, mem, CL_TRUE, huge, zero, region, 0, 0, 0, 0, back, 0,
					NULL, NULL),
	       CL_INVALID_VALUE);
	STATUS(clEnqueueWriteBufferRect(queue, mem, CL_TRUE, zero, zero, region, 0, 0, 0, 0, back, 1,
					NULL, NULL),
	       CL_INVALID_EVENT_WAIT_LIST);

	guarded = clCreateBuffer(context, CL_MEM_HOST_NO_ACCESS, SIZE, NULL, &err);
	OK(err);
	STATUS(reads(guarded, zero, region, none, back), CL_INVALID_OPERATION);
	STATUS(clEnqueueWriteBufferRect(queue, guarded, CL_TRUE, zero, zero, region, 0, 0, 0, 0, back,
					0, NULL, NULL),
	       CL_INVALID_OPERATION);
	OK(clReleaseMemObject(guarded));

	other = clCreateContext(NULL, 1, &device, NULL, NULL, &err);
	OK(err);
	foreign = clCreateBuffer(other, 0, SIZE, NULL, &err);
	OK(err);
	STATUS(reads(foreign, zero, region, none, back), CL_INVALID_CONTEXT);
	STATUS(clEnqueueCopyBufferRect(queue, mem, foreign, zero, zero, region, 0, 0, 0, 0, 0, NULL,
				       NULL),
	       CL_INVALID_CONTEXT);
	OK(clReleaseMemObject(foreign));
	OK(clReleaseContext(other));
	OK(clReleaseMemObject(mem));
}

/* A box of a part of a buffer, and one that is longer than a message. */
static void large(void)
{
	const size_t origin[3] = { 16, 1, 0 }, zero[3] = { 0, 0, 0 }, few[3] = { 4, 3, 1 };
	const size_t region[3] = { 5000, 4100, 1 };
	const size_t pitch = 5120, bytes = pitch * 4200;
	cl_buffer_region part = { 1024, 1024 };
	unsigned char *host = malloc(bytes);
	cl_mem mem = filled(), sub;
	cl_int err;

	sub = clCreateSubBuffer(mem, 0, CL_BUFFER_CREATE_TYPE_REGION, &part, &err);
	OK(err);
	memset(back, 0, sizeof(back));
	OK(clEnqueueReadBufferRect(queue, sub, CL_TRUE, origin, zero, few, 32, 0, 0, 0, back, 0, NULL,
				   NULL));
	EXPECT(back[0] == data[1024 + 48] && back[4] == data[1024 + 80]);
	OK(clReleaseMemObject(sub));
	OK(clReleaseMemObject(mem));

	for (size_t i = 0; i < bytes; i++)
		host[i] = (unsigned char)(i * 7 + i / pitch);
	mem = clCreateBuffer(context, CL_MEM_READ_WRITE, bytes, NULL, &err);
	OK(err);
	OK(clEnqueueWriteBufferRect(queue, mem, CL_FALSE, origin, origin, region, pitch, 0, pitch, 0,
				    host, 0, NULL, NULL));
	OK(clFinish(queue));
	memset(host, 1, bytes);
	OK(clEnqueueReadBufferRect(queue, mem, CL_FALSE, origin, zero, region, pitch, 0, pitch, 0,
				   host, 0, NULL, NULL));
	OK(clFinish(queue));
	EXPECT(host[4999] == (unsigned char)((4999 + pitch + 16) * 7 + 1) && host[5000] == 1);
	show("large", host, bytes);
	OK(clReleaseMemObject(mem));
	free(host);
}

int main(void)
{
	open_device();
	for (int i = 0; i < SIZE; i++)
		data[i] = (unsigned char)(i * 31 + i / 256);
	transfers();
	copies();
	mistakes();
	large();
	OK(clReleaseCommandQueue(queue));
	OK(clReleaseContext(context));
	return finish();
}
