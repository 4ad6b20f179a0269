#!/bin/bash
# A real, second S3 server on loopback from Debian packages (radosgw, ceph-mon, ceph-osd): no systemd, no mgr, no cephx.
# usage: radosgw.sh DIR PORT; access key and secret testing; pids in DIR/run/*.pid
set -euo pipefail
D=$1 P=$2; mkdir -p $D/mon $D/osd $D/run; F=$(cat /proc/sys/kernel/random/uuid)
cat > $D/ceph.conf <<C
[global]
fsid = $F
mon_host = [v2:127.0.0.1:$((P+1)),v1:127.0.0.1:$((P+2))]
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
ms_bind_ipv4 = true
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 4
osd_crush_chooseleaf_type = 0
mon_allow_pool_size_one = true
mon_max_pg_per_osd = 2000
mon_data_avail_warn = 2
mon_data_avail_crit = 1
run_dir = $D/run
admin_socket = $D/run/\$cluster-\$name.asok
log_file = $D/run/\$name.log
osd_data = $D/osd
mon_data = $D/mon
osd_objectstore = ${STORE:-memstore}
memstore_device_bytes = 6442450944
bluestore_block_size = 10737418240
osd_memory_target = 939524096
rgw_frontends = beast endpoint=127.0.0.1:$P tcp_nodelay=1
rgw_crypt_require_ssl = false
rgw_s3_auth_use_sts = true
rgw_sts_key = abcdefghijklmnop
rgw_enable_usage_log = false
rgw_thread_pool_size = 64
ms_mon_client_mode = crc
crash_dir = $D/run
C
monmaptool --create --addv a "[v2:127.0.0.1:$((P+1)),v1:127.0.0.1:$((P+2))]" --fsid $F $D/monmap >/dev/null
ceph-mon -c $D/ceph.conf --mkfs -i a --monmap $D/monmap
ceph-mon -c $D/ceph.conf -i a -f >$D/run/mon.out 2>&1 & echo $! >$D/run/mon.pid
U=$(cat /proc/sys/kernel/random/uuid)
for i in $(seq 60); do timeout 5 ceph -c $D/ceph.conf osd new $U 0 >/dev/null 2>&1 && break; sleep .5; done
ceph-osd -c $D/ceph.conf -i 0 --mkfs --osd-uuid $U >$D/run/mkfs.out 2>&1
ceph-osd -c $D/ceph.conf -i 0 -f >$D/run/osd.out 2>&1 & echo $! >$D/run/osd.pid
radosgw -c $D/ceph.conf -n client.rgw.a -f >$D/run/rgw.out 2>&1 & echo $! >$D/run/rgw.pid
for i in $(seq 240); do curl -sf -o /dev/null http://127.0.0.1:$P/ && break; sleep .5; done
radosgw-admin -c $D/ceph.conf user create --uid=test --display-name=t --access-key=testing --secret-key=testing >/dev/null
# A role that may do everything in S3, so that what a session of it may not is the session policy's doing.
radosgw-admin -c $D/ceph.conf role create --role-name=reader --path=/ --assume-role-policy-doc='{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":["arn:aws:iam:::user/test"]},"Action":["sts:AssumeRole"]}]}' >/dev/null
radosgw-admin -c $D/ceph.conf role-policy put --role-name=reader --policy-name=p --policy-doc='{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:*"],"Resource":["arn:aws:s3:::*"]}]}' >/dev/null
echo "ready after $SECONDS s"
