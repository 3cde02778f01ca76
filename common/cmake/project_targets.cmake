# project_library(), project_binary(), project_test(): the only ways a target is made here.
# Each takes NAME, HDRS, SRCS, DEPS; a library x is linked as tidegate::x.
include(GoogleTest OPTIONAL)

function(_tidegate_options target)
  target_include_directories(${target} PUBLIC "${CMAKE_SOURCE_DIR}")
  target_compile_options(${target} PRIVATE -Wall -Wextra -Wno-missing-field-initializers -Werror)
  target_compile_definitions(${target} PRIVATE TIDEGATE_MUTANT=${TIDEGATE_MUTANT})
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
