/// The functions of libsystemd that talk to a message bus, which a program loads when it needs them.
///
/// Their types are those of the library's own header; the program is not linked with the library.
#pragma once
#include <systemd/sd-bus.h>

/// What is taken from the library, named once.
#define SYSTEMD_FUNCTIONS(function) \
    function(sd_bus_open_system) \
    function(sd_bus_is_ready) \
    function(sd_bus_process) \
    function(sd_bus_wait) \
    function(sd_bus_close_unref) \
    function(sd_bus_message_new_method_call) \
    function(sd_bus_message_set_auto_start) \
    function(sd_bus_message_append_basic) \
    function(sd_bus_message_read_basic) \
    function(sd_bus_message_unref) \
    function(sd_bus_call) \
    function(sd_bus_error_free)

/// The library's functions.
struct systemd {
#define SYSTEMD_FIELD(name) __typeof__(name) *name;
    SYSTEMD_FUNCTIONS(SYSTEMD_FIELD)
#undef SYSTEMD_FIELD
};

/// Loads the library: dlopen(3). It stays until the program ends. Returns null where it cannot be had, and
/// then `complaint` says why.
const struct systemd *systemd_load(const char **complaint);
