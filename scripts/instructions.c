/* A plugin of QEMU that counts executed instructions, in the 8 bytes of a file, lowest first, which anybody may read
 * meanwhile:
 *   cc -shared -fPIC -DVERSION=1 -o instructions.so instructions.c
 *   qemu-system-arm -plugin instructions.so,count=FILE ...
 * A core that sleeps executes nothing. The declarations are those of qemu-plugin.h, which few systems have installed;
 * VERSION is that of the interface (1 in QEMU 7 and 8). */
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct qemu_plugin_tb;
typedef uint64_t id_type;

extern void qemu_plugin_register_vcpu_tb_trans_cb(id_type id, void (*callback)(id_type, struct qemu_plugin_tb *));
extern void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *tb, void (*callback)(unsigned, void *), int flags,
                                                 void *data);
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);

__attribute__((visibility("default"))) int qemu_plugin_version = VERSION;

static volatile uint64_t *count;

static void executed(unsigned core, void *instructions) {
  (void)core;
  *count += (uintptr_t)instructions;
}

static void translated(id_type id, struct qemu_plugin_tb *tb) {
  (void)id;
  /* 0: the callback touches no registers. */
  qemu_plugin_register_vcpu_tb_exec_cb(tb, executed, 0, (void *)(uintptr_t)qemu_plugin_tb_n_insns(tb));
}

__attribute__((visibility("default"))) int qemu_plugin_install(id_type id, const void *info, int argc, char **argv) {
  (void)info;
  if (argc != 1 || strncmp(argv[0], "count=", 6) != 0) return 1;
  int file = open(argv[0] + 6, O_RDWR | O_CREAT, 0644);
  if (file < 0 || ftruncate(file, sizeof *count) != 0) return 1;
  void *place = mmap(NULL, sizeof *count, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  close(file);
  if (place == MAP_FAILED) return 1;
  count = place;
  qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
  return 0;
}
