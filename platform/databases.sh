# Makes the databases; each part may enter its own and no other. The image of PostgreSQL reads this
# once, when its volume is empty. May run again: it sets passwords and limits, and loses nothing.
add_database() {
  psql --set ON_ERROR_STOP=1 --set name="$1" --set password="$2" --set limit="$3" <<'SQL'
SELECT format('CREATE ROLE %I', :'name')
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'name') \gexec
ALTER ROLE :"name" LOGIN PASSWORD :'password' CONNECTION LIMIT :limit;
SELECT format('CREATE DATABASE %I OWNER %I', :'name', :'name')
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'name') \gexec
REVOKE ALL ON DATABASE :"name" FROM PUBLIC;
SQL
}

# The limits add up to less than max_connections, so no part can lock another one out.
add_database gitea "$GITEA_PASSWORD" 30
add_database drone "$DRONE_PASSWORD" 30
add_database mlflow "$MLFLOW_PASSWORD" 60
add_database search "$SEARCH_PASSWORD" 250
