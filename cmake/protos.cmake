# Compiles .proto files with protoc-c into the build folder. Includes read as
# the source tree does: broker/pubsub.proto -> #include "broker/pubsub.pb-c.h".
find_program(PROTOC_C protoc-c REQUIRED)
find_path(PROTOBUF_INCLUDE google/protobuf/timestamp.proto REQUIRED)
set(PROTO_OUT ${PROJECT_BINARY_DIR}/proto)

function(runnel_protoc out_var root rel)
  string(REGEX REPLACE "\\.proto$" "" stem ${rel})
  set(c ${PROTO_OUT}/${stem}.pb-c.c)
  set(h ${PROTO_OUT}/${stem}.pb-c.h)
  add_custom_command(OUTPUT ${c} ${h}
    COMMAND ${CMAKE_COMMAND} -E make_directory ${PROTO_OUT}
    COMMAND ${PROTOC_C} -I${PROJECT_SOURCE_DIR} -I${PROTOBUF_INCLUDE}
            --c_out=${PROTO_OUT} ${root}/${rel}
    DEPENDS ${root}/${rel} VERBATIM COMMENT "protoc-c ${rel}")
  # Generated code is not ours to warn about.
  set_source_files_properties(${c} PROPERTIES COMPILE_OPTIONS "-w")
  set(${out_var} ${c} ${h} PARENT_SCOPE)
endfunction()

function(runnel_protos out_var)
  set(all "")
  foreach(proto ${ARGN})
    file(RELATIVE_PATH rel ${PROJECT_SOURCE_DIR} ${proto})
    runnel_protoc(files ${PROJECT_SOURCE_DIR} ${rel})
    list(APPEND all ${files})
  endforeach()
  set(${out_var} ${all} PARENT_SCOPE)
endfunction()

function(runnel_wellknown out_var)
  set(all "")
  foreach(name any duration empty field_mask timestamp)
    runnel_protoc(files ${PROTOBUF_INCLUDE} google/protobuf/${name}.proto)
    list(APPEND all ${files})
  endforeach()
  set(${out_var} ${all} PARENT_SCOPE)
endfunction()
