# Sourced by suite.sh and kafka.sh: the steps, run against the nodes of $brokers. `classes` holds what ran through the compiler.

libs=${KAFKA_HOME:-$CACHE/kafka}/libs
classes=$CACHE/java

tools_java() {
  java -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xmx256m -Xlog:disable -Dlog4j2.configurationFile="$here/log4j2.properties" \
    -cp "$classes:$libs/*" Tools "$@"
}

# run_steps NODE_SH OUT: in a folder of its own, where the steps' files are.
run_steps() {
  mkdir -p "$SCRATCH/steps"
  (cd "$SCRATCH/steps" && tools_java run "$here/steps.txt" "$brokers" "$SCRATCH" "$1" "$2")
}
