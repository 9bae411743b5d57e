# Makes the buckets and their users in MinIO. May run again: it leaves alone what is there.
set -eu

until mc alias set s3 http://minio:9000 taglab-admin "$ADMIN_PASSWORD"; do sleep 2; done
mc mb --ignore-existing s3/mlflow s3/labs

# add_user NAME PASSWORD POLICY; the image of mc has a shell and little else, no grep
add_user() {
  mc admin user add s3 "$1" "$2"
  mc admin policy create s3 "$3" "/buckets/$3.json"
  case $(mc admin user info s3 "$1") in
    *"$3"*) ;;
    *) mc admin policy attach s3 "$3" --user "$1" ;;
  esac
}

add_user mlflow "$MLFLOW_PASSWORD" server-policy
add_user lab "$LAB_PASSWORD" lab-policy
