#!/bin/sh
# Records scripts on a Linux 6.18 with two memory nodes, which is Debian's kernel under software emulation. With NODES=4 in the environment it has
# four, unequally far apart: as Linux numbers them, the third has no memory and the fourth no processors.
#
#     xtask/record-numa.sh FOLDER_OF_SCRIPTS FOLDER_FOR_RECORDINGS
#
# Needs Debian's qemu-system-x86, busybox-static, cpio and curl, and the network for the kernel's package. Memory of the emulated machine may
# break: it was booted with hugefolio.expendable, and is gone afterwards. `COMMAND` in the environment runs another command there, such as
# `hugefolio conform --live /s`, and prints what it says.
set -eu
scripts=$(realpath "$1")
into=${2:-}
cd "$(dirname "$0")/.."
work=target/numa
kernel=linux-image-6.18.12+deb13-amd64_6.18.12-1~bpo13+1_amd64.deb
pool=http://deb.debian.org/debian/pool/main/l/linux-signed-amd64
for tool in qemu-system-x86_64 busybox cpio curl dpkg-deb; do
    command -v "$tool" >/dev/null || { echo "record-numa: no $tool; install qemu-system-x86, busybox-static, cpio, curl" >&2; exit 2; }
done
mkdir -p "$work"
[ -f "$work/$kernel" ] || curl -fsS -o "$work/$kernel" "$pool/$kernel"
[ -d "$work/kernel" ] || dpkg-deb -x "$work/$kernel" "$work/kernel"
# One file without shared libraries, since nothing else is there.
RUSTFLAGS='-C target-feature=+crt-static' cargo build --release -q -p hugefolio-cli --target x86_64-unknown-linux-gnu --target-dir "$work/build"

root=$work/root
rm -rf "$root"
mkdir -p "$root/bin" "$root/proc" "$root/sys" "$root/dev" "$root/tmp" "$root/run"
cp "$(command -v busybox)" "$root/bin/busybox"
strip -o "$root/bin/hugefolio" "$work/build/x86_64-unknown-linux-gnu/release/hugefolio"
cp -r "$scripts" "$root/s"
cat > "$root/init" <<'INIT'
#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox mkdir -p /sys/fs/cgroup
/bin/busybox mount -t cgroup2 cgroup /sys/fs/cgroup
/bin/busybox --install -s /bin
export PATH=/bin HOME=/tmp
dmesg -n 1
INIT
cat >> "$root/init" <<INIT
${COMMAND:-hugefolio record /s --into /out; echo ----BEGIN; tar cz -C / out | base64; echo ----END}
poweroff -f
INIT
chmod +x "$root/init"
(cd "$root" && find . | cpio -o -H newc 2>/dev/null | gzip -1) > "$work/initrd.gz"

memory() { echo "-object memory-backend-ram,id=m$1,size=$2"; }
distance() { echo "-numa dist,src=$1,dst=$2,val=$3"; }
if [ "${NODES:-2}" = 4 ]; then
    nodes="-smp 3 $(memory 0 1280M) $(memory 1 896M) $(memory 2 896M)
        -numa node,nodeid=0,cpus=0,memdev=m0 -numa node,nodeid=1,cpus=1,memdev=m1 -numa node,nodeid=2,memdev=m2 -numa node,nodeid=3,cpus=2
        $(distance 0 1 21) $(distance 0 2 17) $(distance 0 3 30) $(distance 1 2 40) $(distance 1 3 15) $(distance 2 3 25)"
else
    nodes="-smp 2 $(memory 0 1536M) $(memory 1 1536M)
        -numa node,nodeid=0,cpus=0,memdev=m0 -numa node,nodeid=1,cpus=1,memdev=m1 $(distance 0 1 20)"
fi
# Each word is one argument.
# shellcheck disable=SC2086
timeout "${SECONDS_AT_MOST:-900}" qemu-system-x86_64 -accel tcg -cpu max -m 3072 $nodes -nographic -no-reboot \
    -kernel "$work"/kernel/boot/vmlinuz-* -initrd "$work/initrd.gz" \
    -append 'console=ttyS0 panic=-1 quiet hugefolio.expendable' | tr -d '\r' > "$work/console"
if [ -n "${COMMAND:-}" ]; then
    sed -n '/Booting from ROM/,$p' "$work/console"
    exit 0
fi
mkdir -p "$into"
sed -n '/^----BEGIN$/,/^----END$/p' "$work/console" | grep -v '^----' | base64 -d | tar xz --strip-components=1 -C "$into"
ls "$into" | wc -l
