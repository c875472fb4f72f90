/** thread.c: named pthreads with signals blocked, and the pool of workers. */
#include "core/loop/thread.h"

#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#define THREAD_NAME_MAX 16 /* with its terminator: the kernel's limit */

struct thread {
    pthread_t id;
    char name[THREAD_NAME_MAX];
    void (*fn)(void *arg);
    void *arg;
};

static void *thread_main(void *arg)
{
    struct thread *t = arg;
    pthread_setname_np(pthread_self(), t->name); /* only for people: a failure changes nothing */
    t->fn(t->arg);
    return NULL;
}

struct thread *thread_start(const char *name, void (*fn)(void *arg), void *arg, struct err *e)
{
    struct thread *t = malloc(sizeof *t);
    if (!t) {
        err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory for the thread %s", name);
        return NULL;
    }
    *t = (struct thread){.fn = fn, .arg = arg};
    snprintf(t->name, sizeof t->name, "%s", name);
    /* Blocked before it exists: a new thread inherits the mask, so there is no gap. Faults stay
     * deliverable, or a crash handler (a sanitizer's) would never see them. */
    sigset_t all, before;
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS};
    sigfillset(&all);
    for (size_t i = 0; i < ARRAY_LEN(faults); i++)
        sigdelset(&all, faults[i]);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&t->id, NULL, thread_main, t);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc) {
        err_sys(e, ERR_RESOURCE_EXHAUSTED, rc, "cannot start the thread %s", name);
        free(t);
        return NULL;
    }
    return t;
}

void thread_join(struct thread *t)
{
    if (!t)
        return;
    pthread_join(t->id, NULL);
    free(t);
}

struct workers {
    pthread_mutex_t lock; /* over all below but `threads` */
    pthread_cond_t more;
    struct mail *oldest;
    struct mail **newest; /* where the next one is linked */
    size_t waiting;
    bool stopping;
    size_t thread_count;
    struct thread *threads[];
};

static struct job *next_job(struct workers *w)
{
    pthread_mutex_lock(&w->lock);
    while (!w->oldest && !w->stopping)
        pthread_cond_wait(&w->more, &w->lock);
    struct mail *m = w->oldest;
    if (m) {
        w->oldest = m->next;
        if (!w->oldest)
            w->newest = &w->oldest;
        w->waiting--;
    }
    pthread_mutex_unlock(&w->lock);
    return m ? CONTAINER_OF(m, struct job, mail) : NULL;
}

static void worker_main(void *arg)
{
    struct workers *w = arg;
    for (struct job *job; (job = next_job(w));) {
        job->work(job);
        mailbox_post(job->reply, &job->mail);
    }
}

struct workers *workers_start(size_t threads, struct err *e)
{
    assert(threads > 0 && threads <= WORKERS_THREADS_MAX);
    struct workers *w = calloc(1, sizeof *w + threads * sizeof w->threads[0]);
    if (!w) {
        err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory for %zu workers", threads);
        return NULL;
    }
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->more, NULL);
    w->newest = &w->oldest;
    for (; w->thread_count < threads; w->thread_count++) {
        char name[THREAD_NAME_MAX];
        snprintf(name, sizeof name, "worker-%u", (unsigned)(w->thread_count % WORKERS_THREADS_MAX));
        w->threads[w->thread_count] = thread_start(name, worker_main, w, e);
        if (!w->threads[w->thread_count]) {
            workers_stop(w);
            return NULL;
        }
    }
    return w;
}

bool workers_submit(struct workers *w, struct job *job)
{
    pthread_mutex_lock(&w->lock);
    bool taken = w->waiting < WORKERS_QUEUE_MAX && !w->stopping;
    if (taken) {
        job->mail.next = NULL;
        *w->newest = &job->mail;
        w->newest = &job->mail.next;
        w->waiting++;
        pthread_cond_signal(&w->more);
    }
    pthread_mutex_unlock(&w->lock);
    return taken;
}

void workers_stop(struct workers *w)
{
    if (!w)
        return;
    pthread_mutex_lock(&w->lock);
    w->stopping = true;
    pthread_cond_broadcast(&w->more);
    pthread_mutex_unlock(&w->lock);
    for (size_t i = 0; i < w->thread_count; i++)
        thread_join(w->threads[i]);
    pthread_cond_destroy(&w->more);
    pthread_mutex_destroy(&w->lock);
    free(w);
}
