# Start a PostgreSQL with a role and a database named senderid. $1 is the password.
set -eu
programs=$(echo /usr/lib/postgresql/*/bin) data=/var/lib/postgresql/data
printf %s "$1" > /tmp/password
"$programs/initdb" --pgdata=$data --username=senderid --pwfile=/tmp/password --auth=scram-sha-256 --no-sync > /dev/null
echo "CREATE DATABASE senderid" | "$programs/postgres" --single -D $data postgres > /dev/null
exec "$programs/postgres" -D $data -c listen_addresses=127.0.0.1 -c unix_socket_directories=/tmp
