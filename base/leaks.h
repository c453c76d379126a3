/* base/leaks.h - for what a library keeps and we cannot give back: memory taken
 * between the two is no leak to AddressSanitizer. Nothing in other builds. */
#ifndef BASE_LEAKS_H
#define BASE_LEAKS_H

#if defined(__SANITIZE_ADDRESS__)
void __lsan_disable(void);
void __lsan_enable(void);
#define LEAKS_BEGIN() __lsan_disable()
#define LEAKS_END()   __lsan_enable()
#else
#define LEAKS_BEGIN() ((void)0)
#define LEAKS_END()   ((void)0)
#endif

#endif
