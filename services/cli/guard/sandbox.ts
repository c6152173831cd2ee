import { existsSync, statSync } from 'node:fs'
import { join } from 'node:path'
import type { AllowedCommand } from '#fleet/guard-rules.ts'
import type { Clock } from '#runtime/clock.ts'
import { hasSucceeded, runCommand } from '#runtime/run-command.ts'

/** Where programs are looked for, in the sandbox and outside of it. */
const PATH = '/usr/local/bin:/usr/bin:/bin'

export type SandboxKind = 'bubblewrap' | 'systemd-run'

export interface Sandbox {
  readonly kind: SandboxKind
  readonly path: string
}

/** What a command may use up. */
export const LIMITS = {
  timeoutMs: 60_000,
  outputBytes: 65_536,
  processes: 256,
  fileBytes: 268_435_456,
  memoryBytes: 2_147_483_648,
  processorSeconds: 120,
} as const

/** The environment of a guarded command, whole: nothing of the caller's, so no secret of its. */
export function guardedEnv(home: string): Readonly<Record<string, string>> {
  return {
    PATH,
    HOME: home,
    LANG: 'C.UTF-8',
    TERM: 'dumb',
    GIT_CONFIG_NOSYSTEM: '1',
    GIT_CONFIG_GLOBAL: '/dev/null',
    GIT_TERMINAL_PROMPT: '0',
    GIT_ATTR_NOSYSTEM: '1',
    GIT_AUTHOR_NAME: 's2 guard',
    GIT_AUTHOR_EMAIL: 's2@localhost',
    GIT_COMMITTER_NAME: 's2 guard',
    GIT_COMMITTER_EMAIL: 's2@localhost',
    PIP_CONFIG_FILE: '/dev/null',
    npm_config_userconfig: '/dev/null',
    npm_config_globalconfig: '/nonexistent/npmrc',
  }
}

/** A program of the system; null where there is none. */
export function findProgram(name: string, path = PATH): string | null {
  for (const folder of path.split(':')) {
    const file = join(folder, name)
    const stat = statSync(file, { throwIfNoEntry: false })
    if (stat?.isFile() === true && (stat.mode & 0o111) !== 0) return file
  }
  return null
}

/** The sandbox of this host, tried by a command that does nothing; null where none works for this user. */
export async function findSandbox(folder: string, clock: Clock, path = PATH): Promise<Sandbox | null> {
  for (const [kind, name] of [
    ['bubblewrap', 'bwrap'],
    ['systemd-run', 'systemd-run'],
  ] as const) {
    const program = findProgram(name, path)
    if (program === null) continue
    const sandbox = { kind, path: program }
    if (await works(sandbox, folder, clock)) return sandbox
  }
  return null
}

async function works(sandbox: Sandbox, folder: string, clock: Clock): Promise<boolean> {
  const nothing: AllowedCommand = {
    allowed: true,
    argv: ['true'],
    paths: [],
    writes: false,
    network: false,
    needsSandbox: true,
  }
  const argv = sandboxed(sandbox, nothing, folder)
  try {
    const bounds = { timeoutMs: 10_000, outputMax: 4_096, beyond: 'keep_tail' } as const
    return hasSucceeded(await runCommand({ argv, env: managerEnv(process.getuid?.() ?? 0), ...bounds }, clock))
  } catch {
    return false
  }
}

/** What systemd-run needs to find the service manager of its user; a guarded command itself never gets it. */
export function managerEnv(uid: number): Readonly<Record<string, string>> {
  return { ...guardedEnv('/tmp'), XDG_RUNTIME_DIR: `/run/user/${uid}` }
}

/** The words that run a command in a sandbox: the system read-only, the work folder, nothing else, and no network unless needed. */
export function sandboxed(sandbox: Sandbox, command: AllowedCommand, folder: string): [string, ...string[]] {
  return sandbox.kind === 'bubblewrap'
    ? byBubblewrap(sandbox.path, command, folder)
    : bySystemd(sandbox.path, command, folder)
}

const SYSTEM = ['/usr', '/bin', '/sbin', '/lib', '/lib32', '/lib64', '/opt']
const NETWORK = ['/etc/ssl', '/etc/ca-certificates', '/etc/resolv.conf', '/etc/hosts', '/etc/nsswitch.conf']
const NAMES = ['/etc/passwd', '/etc/group', '/etc/ld.so.cache', '/etc/alternatives']

/** Bounds processes within the user space of a sandbox, where those of this user outside do not count. */
const FEW = ['prlimit', `--nproc=${LIMITS.processes}`, '--'] as const

function byBubblewrap(path: string, { argv, writes, network }: AllowedCommand, folder: string): [string, ...string[]] {
  const shown = [...SYSTEM, ...NAMES, ...(network ? NETWORK : [])]
  const env = Object.entries(guardedEnv('/tmp')).flatMap(([name, value]) => ['--setenv', name, value])
  return [
    path,
    ...['--die-with-parent', '--new-session', '--unshare-all', ...(network ? ['--share-net'] : [])],
    ...['--cap-drop', 'ALL', '--clearenv', ...env],
    ...shown.flatMap((each) => ['--ro-bind-try', each, each]),
    ...['--proc', '/proc', '--dev', '/dev', '--tmpfs', '/tmp'],
    ...[writes ? '--bind' : '--ro-bind', folder, folder, '--chdir', folder, '--'],
    ...FEW,
    ...argv,
  ]
}

function bySystemd(path: string, { argv, writes, network }: AllowedCommand, folder: string): [string, ...string[]] {
  const shown = [...SYSTEM, ...NAMES, ...(network ? NETWORK : [])]
  const properties = [
    'NoNewPrivileges=yes',
    // An empty root, and what is shown: whatever else this user may read lies anywhere, the state folder among it.
    'TemporaryFileSystem=/:ro',
    `BindReadOnlyPaths=${shown.map((each) => `-${each}`).join(' ')}`,
    'BindPaths=/proc',
    'PrivateTmp=yes',
    'PrivateDevices=yes',
    'PrivateUsers=yes',
    'ProtectProc=invisible',
    'ProtectKernelTunables=yes',
    'ProtectControlGroups=yes',
    'RestrictNamespaces=user pid',
    'RestrictSUIDSGID=yes',
    `PrivateNetwork=${network ? 'no' : 'yes'}`,
    `${writes ? 'BindPaths' : 'BindReadOnlyPaths'}=${quoted(folder)}`,
    `WorkingDirectory=${folder}`,
    `TasksMax=${LIMITS.processes}`,
    `MemoryMax=${LIMITS.memoryBytes}`,
    `RuntimeMaxSec=${LIMITS.timeoutMs / 1000}`,
  ]
  const env = Object.entries(guardedEnv('/tmp')).map(([name, value]) => `--setenv=${name}=${value}`)
  const how = ['--user', '--pipe', '--wait', '--collect', '--quiet', ...env]
  // A unit has the processes of its user before it, and may end them: in a space of its own it knows none of them.
  const alone = ['unshare', '--user', '--map-current-user', '--pid', '--fork', '--kill-child', '--']
  return [path, ...how, ...properties.map((each) => `--property=${each}`), '--', ...alone, ...FEW, ...argv]
}

/** As lists of settings of a unit have a word with blanks or colons. */
function quoted(word: string): string {
  return `"${word.replace(/[\\"]/g, '\\$&')}"`
}

/** The same limits by rlimits, for what runs under no service manager. */
export function limited(argv: readonly [string, ...string[]]): [string, ...string[]] {
  const prlimit = findProgram('prlimit')
  if (prlimit === null || !existsSync('/proc/self/limits')) return [...argv]
  return [
    prlimit,
    '--core=0',
    `--cpu=${LIMITS.processorSeconds}`,
    `--fsize=${LIMITS.fileBytes}`,
    `--data=${LIMITS.memoryBytes}`,
    '--',
    ...argv,
  ]
}
