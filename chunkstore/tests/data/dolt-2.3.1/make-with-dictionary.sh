#!/bin/sh
# Makes an archive of version 3 with a trained dictionary: 222 small commits, enough for the 1,000 chunks that
# dolt trains on, then a push to a file:// remote. Usage: DOLT=<a dolt> make-with-dictionary.sh <empty folder>
set -e
dolt=${DOLT:-dolt}
cd "$1"
HOME=$PWD
export HOME
mkdir db remote
"$dolt" config --global --add user.name a
"$dolt" config --global --add user.email a@b.c
cd db
"$dolt" init -b main
{
  echo "create table t (id int primary key, word varchar(40));"
  i=0
  while [ $i -lt 222 ]; do
    i=$((i + 1))
    echo "insert into t values ($i, 'row number $i'); call dolt_commit('-Am', 'commit number $i');"
  done
} | "$dolt" sql
"$dolt" remote add origin file://../remote
"$dolt" push origin main
