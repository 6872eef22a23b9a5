#!/bin/bash
# Makes a node of a Debian machine: containerd, kubeadm, kubelet, and kproxy's image. Arguments: its address, Kubernetes'
# version (1.36).
set -euo pipefail
readonly address=$1 version=$2
export DEBIAN_FRONTEND=noninteractive

swapoff -a
sed -i '/\sswap\s/d' /etc/fstab
printf 'overlay\nbr_netfilter\n' >/etc/modules-load.d/kubernetes.conf
modprobe -a overlay br_netfilter
printf 'net.ipv4.ip_forward = 1\nnet.ipv6.conf.all.forwarding = 1\nnet.bridge.bridge-nf-call-iptables = 1\n' >/etc/sysctl.d/kubernetes.conf
sysctl -q --system

apt-get -qq update
apt-get -qq install --yes --no-install-recommends ca-certificates curl gpg containerd containernetworking-plugins
mkdir -p /etc/apt/keyrings /opt/cni
curl -fsSL "https://pkgs.k8s.io/core:/stable:/v$version/deb/Release.key" | gpg --dearmor --yes -o /etc/apt/keyrings/kubernetes.gpg
echo "deb [signed-by=/etc/apt/keyrings/kubernetes.gpg] https://pkgs.k8s.io/core:/stable:/v$version/deb/ /" \
  >/etc/apt/sources.list.d/kubernetes.list
apt-get -qq update
apt-get -qq install --yes kubelet kubeadm kubectl
apt-mark hold kubelet kubeadm kubectl >/dev/null

# Debian has the plugins elsewhere than containerd looks for them.
ln -sfn /usr/lib/cni /opt/cni/bin
mkdir -p /etc/containerd
containerd config default | sed 's/SystemdCgroup = false/SystemdCgroup = true/' >/etc/containerd/config.toml
systemctl restart containerd
# The first network is vagrant's own, and the same on every machine under VirtualBox.
echo "KUBELET_EXTRA_ARGS=--node-ip=$address" >/etc/default/kubelet
systemctl restart kubelet

ctr --namespace k8s.io images import --base-name kproxy /tmp/kproxy.oci.tar
ctr --namespace k8s.io images tag --force "$(ctr --namespace k8s.io images list -q | grep -m 1 kproxy)" docker.io/library/kproxy:latest
