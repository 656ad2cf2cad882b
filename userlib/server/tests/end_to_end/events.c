/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/* Events: what waits for what, in one thread and in several. Prints what the specification leaves open. */
#include <pthread.h>
#include <semaphore.h>

#include "program.h"

#define N 1024
#define THREADS 24
#define REFUSED (-1234)

/* PoCL itself does not see that a handle is none. */
static int native;
static cl_mem buffer;
static cl_program program;

static cl_event user_event(void)
{
	cl_int err;
	cl_event event = clCreateUserEvent(context, &err);

	OK(err);
	return event;
}

static cl_command_queue another_queue(cl_command_queue_properties properties)
{
	cl_int err;
	cl_command_queue made = clCreateCommandQueue(context, device, properties, &err);

	OK(err);
	return made;
}

static cl_int status_of(cl_event event)
{
	cl_int status = 99;

	OK(clGetEventInfo(event, CL_EVENT_COMMAND_EXECUTION_STATUS, sizeof(status), &status, NULL));
	return status;
}

static void of_a_user_event(void)
{
	cl_event event = user_event(), marker;
	cl_command_type type = 0;
	cl_command_queue none = queue;
	cl_context of = NULL;
	cl_uint count = 0;
	cl_ulong when;

	STATUS(status_of(event), CL_SUBMITTED);
	OK(clGetEventInfo(event, CL_EVENT_COMMAND_TYPE, sizeof(type), &type, NULL));
	EXPECT(type == CL_COMMAND_USER);
	OK(clGetEventInfo(event, CL_EVENT_COMMAND_QUEUE, sizeof(none), &none, NULL));
	EXPECT(none == NULL);
	OK(clGetEventInfo(event, CL_EVENT_CONTEXT, sizeof(of), &of, NULL));
	EXPECT(of == context);
	OK(clRetainEvent(event));
	OK(clGetEventInfo(event, CL_EVENT_REFERENCE_COUNT, sizeof(count), &count, NULL));
	EXPECT(count == 2);
	OK(clReleaseEvent(event));
	STATUS(clSetUserEventStatus(event, CL_RUNNING), CL_INVALID_VALUE);
	STATUS(clSetUserEventStatus(event, CL_SUBMITTED), CL_INVALID_VALUE);
	STATUS(clSetUserEventStatus(NULL, CL_COMPLETE), CL_INVALID_EVENT);
	OK(clSetUserEventStatus(event, CL_COMPLETE));
	STATUS(clSetUserEventStatus(event, CL_COMPLETE), CL_INVALID_OPERATION);
	STATUS(clSetUserEventStatus(event, REFUSED), CL_INVALID_OPERATION);
	STATUS(status_of(event), CL_COMPLETE);
	OK(clWaitForEvents(1, &event));
	STATUS(clGetEventProfilingInfo(event, CL_PROFILING_COMMAND_END, sizeof(when), &when, NULL),
	       CL_PROFILING_INFO_NOT_AVAILABLE);
	OK(clReleaseEvent(event));
	if (!native) {
		STATUS(clSetUserEventStatus(event, CL_COMPLETE), CL_INVALID_EVENT);
		STATUS(clSetUserEventStatus((cl_event)queue, CL_COMPLETE), CL_INVALID_EVENT);
	}
	OK(clEnqueueMarkerWithWaitList(queue, 0, NULL, &marker));
	STATUS(clSetUserEventStatus(marker, CL_COMPLETE), CL_INVALID_EVENT);
	OK(clReleaseEvent(marker));
	OK(clFinish(queue));
}

/* What is enqueued waits, and other calls do not. */
static void commands_wait(void)
{
	cl_command_queue other = another_queue(0);
	cl_event start = user_event(), written, copied, marked, passed;
	unsigned char in[N], out[N];
	cl_int err;
	cl_mem copy = clCreateBuffer(context, CL_MEM_READ_WRITE, N, NULL, &err);

	OK(err);
	memset(in, 7, N);
	memset(out, 0, N);
	OK(clEnqueueWriteBuffer(queue, buffer, CL_FALSE, 0, N, in, 1, &start, &written));
	OK(clFlush(queue));
	OK(clEnqueueCopyBuffer(other, buffer, copy, 0, 0, N, 1, &written, &copied));
	OK(clEnqueueReadBuffer(other, copy, CL_FALSE, 0, N, out, 0, NULL, NULL));
	OK(clEnqueueMarkerWithWaitList(other, 0, NULL, &marked));
	OK(clEnqueueBarrierWithWaitList(queue, 1, &marked, &passed));
	OK(clFlush(other));
	EXPECT(status_of(written) > CL_COMPLETE);
	EXPECT(status_of(copied) > CL_COMPLETE);
	EXPECT(status_of(passed) > CL_COMPLETE);
	EXPECT(out[0] == 0);
	/* Those that wait keep it. */
	OK(clRetainEvent(start));
	OK(clReleaseEvent(start));
	OK(clSetUserEventStatus(start, CL_COMPLETE));
	OK(clReleaseEvent(start));
	OK(clWaitForEvents(1, &passed));
	STATUS(status_of(written), CL_COMPLETE);
	STATUS(status_of(copied), CL_COMPLETE);
	STATUS(status_of(marked), CL_COMPLETE);
	EXPECT(memcmp(in, out, N) == 0);
	OK(clFinish(other));
	OK(clFinish(queue));
	OK(clReleaseEvent(written));
	OK(clReleaseEvent(copied));
	OK(clReleaseEvent(marked));
	OK(clReleaseEvent(passed));
	OK(clReleaseMemObject(copy));
	OK(clReleaseCommandQueue(other));
}

static void old_functions_wait(void)
{
	cl_event start = user_event(), marked, before;

	OK(clEnqueueMarker(queue, &before));
	/* PoCL itself has none. */
	if (native)
		OK(clEnqueueBarrierWithWaitList(queue, 1, &start, NULL));
	else
		OK(clEnqueueWaitForEvents(queue, 1, &start));
	OK(clEnqueueBarrier(queue));
	OK(clEnqueueMarker(queue, &marked));
	OK(clWaitForEvents(1, &before));
	EXPECT(status_of(marked) > CL_COMPLETE);
	OK(clSetUserEventStatus(start, CL_COMPLETE));
	OK(clFinish(queue));
	STATUS(status_of(marked), CL_COMPLETE);
	OK(clReleaseEvent(start));
	OK(clReleaseEvent(marked));
	OK(clReleaseEvent(before));
}

/* Kernels of a queue without order run in the order that their events give them. */
static void order_by_events(void)
{
	cl_command_queue any = another_queue(CL_QUEUE_OUT_OF_ORDER_EXEC_MODE_ENABLE);
	cl_event start = user_event(), done[16];
	size_t size = N / sizeof(cl_int);
	cl_int out[N / sizeof(cl_int)], zero = 0, err;
	cl_int expected = 0;
	cl_kernel kernel = clCreateKernel(program, "append", &err);

	OK(err);
	OK(clEnqueueFillBuffer(any, buffer, &zero, sizeof(zero), 0, N, 0, NULL, NULL));
	OK(clFinish(any));
	OK(clSetKernelArg(kernel, 0, sizeof(buffer), &buffer));
	for (cl_int i = 0; i < 16; i++) {
		OK(clSetKernelArg(kernel, 1, sizeof(i), &i));
		OK(clEnqueueNDRangeKernel(any, kernel, 1, NULL, &size, NULL, 1, i ? &done[i - 1] : &start,
					  &done[i]));
		expected = expected * 3 + i;
	}
	OK(clEnqueueReadBuffer(any, buffer, CL_FALSE, 0, N, out, 1, &done[15], NULL));
	EXPECT(status_of(done[15]) > CL_COMPLETE);
	OK(clSetUserEventStatus(start, CL_COMPLETE));
	OK(clFinish(any));
	EXPECT(out[0] == expected && out[size - 1] == expected);
	for (int i = 0; i < 16; i++)
		OK(clReleaseEvent(done[i]));
	OK(clReleaseEvent(start));
	OK(clReleaseKernel(kernel));
	OK(clReleaseCommandQueue(any));
}

/* What waits for a command that failed fails. */
static void failures_spread(void)
{
	cl_command_queue other = another_queue(0);
	cl_event start = user_event(), written, marked, read;
	unsigned char in[N], out[N];

	memset(in, 9, N);
	memset(out, 1, N);
	OK(clEnqueueWriteBuffer(other, buffer, CL_FALSE, 0, N, in, 1, &start, &written));
	OK(clEnqueueMarkerWithWaitList(queue, 1, &written, &marked));
	/* Before the failure: what PoCL is given to wait for a command that has failed never ends. */
	OK(clEnqueueReadBuffer(queue, buffer, CL_FALSE, 0, N, out, 1, &written, &read));
	OK(clSetUserEventStatus(start, REFUSED));
	STATUS(status_of(start), REFUSED);
	STATUS(clWaitForEvents(1, &start), CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST);
	STATUS(clWaitForEvents(1, &written), CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST);
	STATUS(clWaitForEvents(1, &marked), CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST);
	EXPECT(status_of(written) < 0);
	EXPECT(status_of(marked) < 0);
	printf("failed: %d %d\n", status_of(written), status_of(marked));
	STATUS(clWaitForEvents(1, &read), CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST);
	printf("failed: %d\n", status_of(read));
	EXPECT(out[0] == 1);
	OK(clFinish(other));
	OK(clFinish(queue));
	OK(clReleaseEvent(start));
	OK(clReleaseEvent(written));
	OK(clReleaseEvent(marked));
	OK(clReleaseEvent(read));
	OK(clReleaseCommandQueue(other));
	/* The queue itself is as good as before. */
	OK(clEnqueueReadBuffer(queue, buffer, CL_TRUE, 0, N, out, 0, NULL, NULL));
}

static void times_are_in_order(void)
{
	cl_event start = user_event(), done;
	cl_ulong queued, submitted, started, ended;
	cl_int zero = 0;

	OK(clEnqueueFillBuffer(queue, buffer, &zero, sizeof(zero), 0, N, 1, &start, &done));
	STATUS(clGetEventProfilingInfo(done, CL_PROFILING_COMMAND_END, sizeof(ended), &ended, NULL),
	       CL_PROFILING_INFO_NOT_AVAILABLE);
	OK(clSetUserEventStatus(start, CL_COMPLETE));
	OK(clFinish(queue));
	OK(clGetEventProfilingInfo(done, CL_PROFILING_COMMAND_QUEUED, sizeof(queued), &queued, NULL));
	OK(clGetEventProfilingInfo(done, CL_PROFILING_COMMAND_SUBMIT, sizeof(submitted), &submitted, NULL));
	OK(clGetEventProfilingInfo(done, CL_PROFILING_COMMAND_START, sizeof(started), &started, NULL));
	OK(clGetEventProfilingInfo(done, CL_PROFILING_COMMAND_END, sizeof(ended), &ended, NULL));
	EXPECT(queued <= submitted && submitted <= started && started <= ended);
	OK(clReleaseEvent(start));
	OK(clReleaseEvent(done));
}

static cl_event awaited;
static sem_t begun;

/* Waits for the event in one of the ways there are. */
static void *waiter(void *number)
{
	long way = (long)number % 4;
	cl_command_queue own = another_queue(0);
	unsigned char out[N], in[N];
	cl_event done;

	memset(in, 3, N);
	switch (way) {
	case 0:
		OK(clEnqueueMarkerWithWaitList(own, 1, &awaited, &done));
		sem_post(&begun);
		OK(clFinish(own));
		STATUS(status_of(done), CL_COMPLETE);
		OK(clReleaseEvent(done));
		break;
	case 1:
		sem_post(&begun);
		OK(clWaitForEvents(1, &awaited));
		STATUS(status_of(awaited), CL_COMPLETE);
		break;
	case 2:
		sem_post(&begun);
		OK(clEnqueueReadBuffer(own, buffer, CL_TRUE, 0, N, out, 1, &awaited, NULL));
		EXPECT(out[0] == 5 && out[N - 1] == 5);
		break;
	default:
		OK(clEnqueueBarrierWithWaitList(own, 1, &awaited, NULL));
		OK(clEnqueueReadBuffer(own, buffer, CL_FALSE, 0, N, out, 0, NULL, &done));
		sem_post(&begun);
		OK(clWaitForEvents(1, &done));
		EXPECT(out[0] == 5 && out[N - 1] == 5);
		OK(clReleaseEvent(done));
	}
	OK(clFinish(own));
	OK(clReleaseCommandQueue(own));
	return NULL;
}

/* One thread sets what others wait for. A library that has one call under way at a time ends here. */
static void threads_wait(int count)
{
	pthread_t threads[THREADS];
	unsigned char five = 5;

	awaited = user_event();
	OK(clEnqueueFillBuffer(queue, buffer, &five, 1, 0, N, 0, NULL, NULL));
	OK(clFinish(queue));
	for (long i = 0; i < count; i++)
		EXPECT(pthread_create(&threads[i], NULL, waiter, (void *)i) == 0);
	for (int i = 0; i < count; i++)
		sem_wait(&begun);
	/* Calls of every kind get through, the more so since there are many. */
	for (int i = 0; i < 200; i++) {
		cl_int err;
		cl_mem some = clCreateBuffer(context, CL_MEM_READ_WRITE, N, NULL, &err);

		OK(err);
		EXPECT(status_of(awaited) == CL_SUBMITTED);
		OK(clReleaseMemObject(some));
	}
	OK(clSetUserEventStatus(awaited, CL_COMPLETE));
	for (int i = 0; i < count; i++)
		pthread_join(threads[i], NULL);
	OK(clReleaseEvent(awaited));
}

int main(int argc, char **argv)
{
	cl_int err;

	native = argc > 1;
	open_device();
	sem_init(&begun, 0, 0);
	buffer = clCreateBuffer(context, CL_MEM_READ_WRITE, N, NULL, &err);
	OK(err);
	program = build("kernel void append(global int *all, int digit)"
			"{ all[get_global_id(0)] = all[get_global_id(0)] * 3 + digit; }");
	of_a_user_event();
	commands_wait();
	old_functions_wait();
	order_by_events();
	failures_spread();
	times_are_in_order();
	for (int count = 1; count <= THREADS; count += 23)
		threads_wait(count);
	OK(clReleaseProgram(program));
	OK(clReleaseMemObject(buffer));
	close_device();
	return finish();
}
