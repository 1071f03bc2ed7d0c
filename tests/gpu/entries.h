// A kernel by its name, callable with the pointers to its parameters that the driver's interface hands over.
#pragma once

#include <cstring>
#include <type_traits>
#include <utility>

typedef void (*Entry)(void **parameters);

template <typename... A, size_t... I>
static void call(void (*kernel)(A...), void **parameters, std::index_sequence<I...>) {
    kernel(*(std::remove_cv_t<std::remove_reference_t<A>> *)parameters[I]...);
}

template <typename... A>
static void call(void (*kernel)(A...), void **parameters) {
    call(kernel, parameters, std::index_sequence_for<A...>{});
}

// How many bytes each parameter has; returns how many there are.
template <typename... A>
static int sizes(void (*)(A...), size_t *bytes) {
    size_t all[] = {sizeof(A)..., 0};
    std::memcpy(bytes, all, sizeof...(A) * sizeof(size_t));
    return sizeof...(A);
}
