# project_library(), project_binary(), project_test(): the only ways a target is made here.
# Each takes NAME, HDRS, SRCS, DEPS; a library x is linked as tidegate::x.
include(GoogleTest OPTIONAL)

function(_tidegate_options target)
  target_include_directories(${target} PUBLIC "${CMAKE_SOURCE_DIR}")
  target_compile_options(${target} PRIVATE -Wall -Wextra -Wno-missing-field-initializers -Werror)
  target_compile_definitions(${target} PRIVATE TIDEGATE_MUTANT=${TIDEGATE_MUTANT})
  if(TIDEGATE_CRASH_POINTS)
    target_compile_definitions(${target} PRIVATE TIDEGATE_CRASH_POINTS)
  endif()
  if(TIDEGATE_SANITIZE)
    target_compile_options(${target} PRIVATE -fsanitize=${TIDEGATE_SANITIZE}
                           -fno-omit-frame-pointer -fno-sanitize-recover=all)
    target_link_options(${target} PUBLIC -fsanitize=${TIDEGATE_SANITIZE})
  endif()
endfunction()

function(project_library)
  cmake_parse_arguments(ARG "" "NAME" "HDRS;SRCS;DEPS" ${ARGN})
  add_library(${ARG_NAME} STATIC ${ARG_SRCS} ${ARG_HDRS})
  add_library(tidegate::${ARG_NAME} ALIAS ${ARG_NAME})
  set_target_properties(${ARG_NAME} PROPERTIES LINKER_LANGUAGE CXX)
  _tidegate_options(${ARG_NAME})
  target_link_libraries(${ARG_NAME} PUBLIC ${ARG_DEPS})
endfunction()

function(project_binary)
  cmake_parse_arguments(ARG "" "NAME" "SRCS;DEPS" ${ARGN})
  # The target is called NAME-bin where a library already has the plain name.
  if(TARGET ${ARG_NAME})
    set(target ${ARG_NAME}-bin)
  else()
    set(target ${ARG_NAME})
  endif()
  add_executable(${target} ${ARG_SRCS})
  set_target_properties(${target} PROPERTIES
    OUTPUT_NAME ${ARG_NAME} RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/bin")
  _tidegate_options(${target})
  target_link_libraries(${target} PRIVATE ${ARG_DEPS})
endfunction()

# The sources with crash points, for project_variant().
set(TIDEGATE_CRASH_POINT_SOURCES
  ${CMAKE_SOURCE_DIR}/common/http/client.cc
  ${CMAKE_SOURCE_DIR}/common/runtime/partition_runner.cc
  ${CMAKE_SOURCE_DIR}/common/wecom/tokens.cc
  ${CMAKE_SOURCE_DIR}/services/dispatch/adapters/wecom_caller.cc
  ${CMAKE_SOURCE_DIR}/services/dispatch/core/campaign_doubt.cc
  ${CMAKE_SOURCE_DIR}/services/dispatch/core/dispatch_calls.cc
  ${CMAKE_SOURCE_DIR}/services/dispatch/core/dispatch_core.cc
  ${CMAKE_SOURCE_DIR}/services/dispatch/service.cc)

# A program like another one, with a few sources compiled once more: its own objects are linked before
# those of the libraries. SRCS are all sources of its own, the changed ones included; DEFINES is what
# changes them. Without ALL it is built only when it is asked for.
function(project_variant)
  cmake_parse_arguments(ARG "ALL" "NAME;OUTPUT" "SRCS;DEFINES;DEPS" ${ARGN})
  add_executable(${ARG_NAME} ${ARG_SRCS})
  if(NOT ARG_ALL)
    set_target_properties(${ARG_NAME} PROPERTIES EXCLUDE_FROM_ALL TRUE)
  endif()
  target_include_directories(${ARG_NAME} PRIVATE "${CMAKE_SOURCE_DIR}")
  target_compile_definitions(${ARG_NAME} PRIVATE ${ARG_DEFINES})
  target_compile_options(${ARG_NAME} PRIVATE -Wall -Wextra -Wno-missing-field-initializers)
  if(TIDEGATE_SANITIZE)
    target_compile_options(${ARG_NAME} PRIVATE -fsanitize=${TIDEGATE_SANITIZE}
                           -fno-omit-frame-pointer -fno-sanitize-recover=all)
  endif()
  target_link_libraries(${ARG_NAME} PRIVATE ${ARG_DEPS})
  set_target_properties(${ARG_NAME} PROPERTIES
    RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/${ARG_OUTPUT}")
endfunction()

function(project_test)
  cmake_parse_arguments(ARG "" "NAME;TIMEOUT" "SRCS;DEPS" ${ARGN})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 120)
  endif()
  add_executable(${ARG_NAME} ${ARG_SRCS})
  _tidegate_options(${ARG_NAME})
  target_link_libraries(${ARG_NAME} PRIVATE ${ARG_DEPS} GTest::gtest_main GTest::gmock)
  gtest_discover_tests(${ARG_NAME} DISCOVERY_TIMEOUT 60 PROPERTIES TIMEOUT ${ARG_TIMEOUT})
endfunction()
