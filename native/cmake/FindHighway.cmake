# Highway::hwy, 1.2 or newer, from its source: from the system or from CMAKE_PREFIX_PATH. Its library would be one more
# file to carry, for the few functions that find out what the processor has. All else is in its headers.
find_path(HIGHWAY_SOURCE_DIR hwy/targets.cc PATHS ${CMAKE_PREFIX_PATH} PATH_SUFFIXES src/highway)
if(HIGHWAY_SOURCE_DIR)
  file(STRINGS ${HIGHWAY_SOURCE_DIR}/hwy/base.h _hwy REGEX "define HWY_(MAJOR|MINOR) [0-9]+")
  string(REGEX REPLACE ".*HWY_MAJOR ([0-9]+).*HWY_MINOR ([0-9]+).*" "\\1.\\2" HIGHWAY_VERSION "${_hwy}")
endif()
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(Highway REQUIRED_VARS HIGHWAY_SOURCE_DIR VERSION_VAR HIGHWAY_VERSION)
if(Highway_FOUND AND HIGHWAY_VERSION VERSION_LESS 1.2)
  message(FATAL_ERROR "Highway ${HIGHWAY_VERSION} in ${HIGHWAY_SOURCE_DIR} is too old; 1.2 or newer is needed")
endif()
if(Highway_FOUND AND NOT TARGET Highway::hwy)
  add_library(hwy STATIC
    ${HIGHWAY_SOURCE_DIR}/hwy/abort.cc ${HIGHWAY_SOURCE_DIR}/hwy/per_target.cc ${HIGHWAY_SOURCE_DIR}/hwy/targets.cc)
  target_include_directories(hwy SYSTEM PUBLIC ${HIGHWAY_SOURCE_DIR})
  add_library(Highway::hwy ALIAS hwy)
endif()
