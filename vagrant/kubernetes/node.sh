#!/bin/bash
# Makes a node of a Debian machine: containerd, kubeadm, kubelet, kproxy's image, and a network of pods that needs no image:
# of each machine 10.244.N.0/24, N being its address' last number, by a bridge, with routes to the others'. Arguments: its
# address, Kubernetes' version (1.36), the addresses of all machines.
set -euo pipefail
readonly address=$1 version=$2
shift 2
export DEBIAN_FRONTEND=noninteractive

swapoff -a
sed -i '/\sswap\s/d' /etc/fstab
printf 'overlay\nbr_netfilter\n' >/etc/modules-load.d/kubernetes.conf
modprobe -a overlay br_netfilter
printf 'net.ipv4.ip_forward = 1\nnet.ipv6.conf.all.forwarding = 1\nnet.bridge.bridge-nf-call-iptables = 1\n' >/etc/sysctl.d/kubernetes.conf
sysctl -q --system

apt-get -qq update
apt-get -qq install --yes --no-install-recommends ca-certificates curl gpg nftables containerd containernetworking-plugins
mkdir -p /etc/apt/keyrings /opt/cni
curl -fsSL "https://pkgs.k8s.io/core:/stable:/v$version/deb/Release.key" | gpg --dearmor --yes -o /etc/apt/keyrings/kubernetes.gpg
echo "deb [signed-by=/etc/apt/keyrings/kubernetes.gpg] https://pkgs.k8s.io/core:/stable:/v$version/deb/ /" \
  >/etc/apt/sources.list.d/kubernetes.list
apt-get -qq update
apt-get -qq install --yes kubelet kubeadm kubectl
apt-mark hold kubelet kubeadm kubectl >/dev/null

# Debian has the plugins elsewhere than containerd looks for them.
ln -sfn /usr/lib/cni /opt/cni/bin
mkdir -p /etc/cni/net.d
cat >/etc/cni/net.d/10-lab.conflist <<CNI
{"cniVersion": "1.0.0", "name": "lab", "plugins": [
  {"type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true,
   "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.244.${address##*.}.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
CNI
{
  echo '#!/bin/sh'
  echo 'set -e'
  for other in "$@"; do
    [[ $other == "$address" ]] || echo "ip route replace 10.244.${other##*.}.0/24 via $other"
  done
  # Pods reach the world by their node's address.
  echo "nft -f - <<'RULES'"
  echo 'table ip lab { }'
  echo 'delete table ip lab'
  echo 'table ip lab { chain egress { type nat hook postrouting priority 110;'
  echo '  ip saddr 10.244.0.0/16 ip daddr != { 10.244.0.0/16, 10.96.0.0/12, 192.168.61.0/24 } masquerade; }; }'
  echo 'RULES'
} >/usr/local/sbin/lab-routes
chmod +x /usr/local/sbin/lab-routes
cat >/etc/systemd/system/lab-routes.service <<'UNIT'
[Unit]
Description=Ways to the other nodes' pods
Wants=network-online.target
After=network-online.target

[Service]
Type=oneshot
ExecStart=/usr/local/sbin/lab-routes

[Install]
WantedBy=multi-user.target
UNIT
systemctl daemon-reload
systemctl -q enable --now lab-routes
mkdir -p /etc/containerd
containerd config default | sed 's/SystemdCgroup = false/SystemdCgroup = true/' >/etc/containerd/config.toml
systemctl restart containerd
# The first network is vagrant's own, and the same on every machine under VirtualBox.
echo "KUBELET_EXTRA_ARGS=--node-ip=$address" >/etc/default/kubelet
systemctl restart kubelet

ctr --namespace k8s.io images import --base-name kproxy /tmp/kproxy.oci.tar
ctr --namespace k8s.io images tag --force "$(ctr --namespace k8s.io images list -q | grep -m 1 kproxy)" docker.io/library/kproxy:latest
