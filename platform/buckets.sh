# Makes the buckets. May run again: it leaves alone what is there.
set -eu

for bucket in mlflow labs; do
  tries=90
  while :; do
    status=$(curl --silent --show-error --output /dev/null --write-out '%{http_code}' \
      --aws-sigv4 aws:amz:us-east-1:s3 --user "taglab-admin:$ADMIN_PASSWORD" \
      --request PUT "$S3/$bucket") || true
    case $status in
      200 | 409) break ;;  # made; there already
      403) tries=0 ;;      # the password is wrong, and will be
      *) tries=$((tries - 1)) ;;
    esac
    if [ "$tries" -le 0 ]; then
      echo "bucket $bucket: the S3 server at $S3 answered $status" >&2
      exit 1
    fi
    sleep 2
  done
done
