/* halyard/status.h: the result of everything that can fail.
 *
 * Every fallible function of Halyard returns a hy_status and, on failure, leaves one line of detail in
 * a thread-local buffer that hy_error_text() returns. On failure no out-parameter is written unless the
 * function says otherwise. */
#ifndef HALYARD_STATUS_H
#define HALYARD_STATUS_H

#ifdef __cplusplus
extern "C" {
#endif

#ifndef HY_API
#if defined(__GNUC__)
#define HY_API __attribute__((visibility("default")))
#else
#define HY_API
#endif
#endif

#if defined(__GNUC__)
#define HY_NODISCARD __attribute__((warn_unused_result))
#else
#define HY_NODISCARD
#endif

/* What happened, and what the caller should do about it. Values never change. */
typedef enum hy_status {
    HY_OK = 0,         /* done */
    HY_E_ARGUMENT = 1, /* an argument breaks the function's contract: fix the call */
    HY_E_STATE = 2,    /* the object is not in a state that allows this: fix the order of calls */
    HY_E_MEMORY = 3, /* host or device memory is not enough: ask for less (context, batch, model) */
    HY_E_IO = 4,     /* the operating system refused a read or write: look at the path and disk */
    HY_E_FORMAT = 5, /* a file or text is damaged or not what it claims to be: get another one */
    HY_E_UNSUPPORTED =
        6, /* well-formed, but outside what this build can do: the text names the limit */
    HY_E_NOT_FOUND = 7,   /* no such file, device, tensor, name: the text lists what there is */
    HY_E_UNAVAILABLE = 8, /* a library, driver or device is missing on this machine */
    HY_E_DEVICE = 9,      /* the device failed; sticky: free the engine and open the device again */
    HY_E_LIMIT = 10,   /* a stated limit is reached (context, sequences, pages): wait or shorten */
    HY_E_TEXT = 11,    /* invalid UTF-8 or text that the tokenizer cannot encode */
    HY_E_TIMEOUT = 12, /* the time given has passed; the work may still finish */
    HY_E_INTERNAL = 13 /* a bug in Halyard: please report it with the text */
} hy_status;

/* How much a message matters to its reader. */
typedef enum hy_log_level {
    HY_LOG_ERROR = 0, /* something asked for did not happen */
    HY_LOG_WARN = 1,  /* it happened, but not as one might expect */
    HY_LOG_INFO = 2,  /* milestones of long work */
    HY_LOG_DEBUG = 3  /* choices made inside */
} hy_log_level;

/* Receives one line without a trailing newline. May be called from any thread. */
typedef void (*hy_log_fn)(void *user, hy_log_level level, const char *text);

/* Short stable name of a status, such as "not found". Never NULL. Thread-safety: any thread. */
HY_API const char *hy_status_name(hy_status status);

/* One line about the last failure on this thread, without a trailing newline; "" before the first.
 * Valid until the next failure on this thread. Thread-safety: any thread, each sees its own. */
HY_API const char *hy_error_text(void);

#ifdef __cplusplus
}
#endif
#endif
