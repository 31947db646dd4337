#!/bin/sh
# Prints what Docker says of itself as one line of JSON. (A script of its own since Ansible reads double braces as its own.)
exec docker info --format '{{json .}}'
