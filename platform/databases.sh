# Read by the image of PostgreSQL once, when its volume is empty. Each part may enter its own
# database and no other.
add_database() {
  psql --set ON_ERROR_STOP=1 --set name="$1" --set password="$2" --set limit="$3" <<'SQL'
CREATE ROLE :"name" LOGIN PASSWORD :'password' CONNECTION LIMIT :limit;
CREATE DATABASE :"name" OWNER :"name";
REVOKE ALL ON DATABASE :"name" FROM PUBLIC;
SQL
}

# The limits add up to less than max_connections, so no part can lock another one out.
add_database gitea "$GITEA_PASSWORD" 30
add_database drone "$DRONE_PASSWORD" 30
add_database mlflow "$MLFLOW_PASSWORD" 60
add_database search "$SEARCH_PASSWORD" 250
