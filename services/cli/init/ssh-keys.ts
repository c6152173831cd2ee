import { createHash } from 'node:crypto'
import { hostname } from 'node:os'
import type { CommandContext } from '#console/context.ts'
import { sshCommand } from '#git/git-environment.ts'
import type { Env } from '#runtime/read-settings.ts'
import { hasSucceeded } from '#runtime/run-command.ts'
import { ensureHome, runAs, type ServiceUser } from './service-user.ts'

/** The host of a remote that is reached by ssh, as arguments of ssh(1). */
export interface SshHost {
  /** The host name or address alone. */
  readonly name: string
  readonly args: readonly string[]
}

/** The ssh host of a remote; null for one that is reached in another way: `ssh://user@host:port/path` and `user@host:path` are by ssh. gitremote(7) */
export function sshHostOf(remote: string): SshHost | null {
  const byUrl = /^(?:git\+)?ssh(?:\+git)?:\/\/(?:([^@/]*)@)?(\[[^\]]+\]|[^:/]+)(?::(\d+))?(?:\/|$)/i.exec(remote)
  const byPath = /^[a-z][a-z0-9+.-]*:\/\//i.test(remote) ? null : /^(?:([^@/:]*)@)?(\[[^\]]+\]|[^:/]+):/.exec(remote)
  const [, user, host = '', port] = byUrl ?? byPath ?? []
  if (host === '') return null
  const name = host.replace(/^\[(.*)\]$/, '$1')
  const to = user === undefined || user === '' ? name : `${user}@${name}`
  return { name, args: [...(port === undefined ? [] : ['-p', port]), '--', to] }
}

/** A public key that a host presented. */
export interface HostKey {
  /** The line for known_hosts, named as ssh looks for it. */
  readonly line: string
  /** Such as `ssh-ed25519`. */
  readonly kind: string
  /** As ssh shows it: `SHA256:…` */
  readonly fingerprint: string
}

/** How ssh is run: as whom, and with which environment. */
export interface Ssh {
  readonly user: ServiceUser
  readonly env: Env
  readonly context: CommandContext
  readonly signal: AbortSignal
}

const TIMEOUT_MS = 20_000

/** An unknown host is offered nothing: no key, no agent, no tunnel. */
const UNKNOWN_HOST_OPTIONS =
  '-oStrictHostKeyChecking=accept-new -oGlobalKnownHostsFile=/dev/null -oHashKnownHosts=no -oUpdateHostKeys=no ' +
  '-oPubkeyAuthentication=no -oGSSAPIAuthentication=no -oForwardAgent=no -oClearAllForwardings=yes'

/**
 * Asks ssh for the keys of a host, by the route, name and settings that git will use: ssh-keyscan(1) knows no settings and no
 * host behind a jump host.
 */
export async function askHostKeys(ssh: Ssh, { args }: SshHost): Promise<HostKey[]> {
  const script = `file=$(mktemp) || exit; trap 'rm -f "$file"' EXIT
${sshCommand(ssh.env)} ${UNKNOWN_HOST_OPTIONS} -oUserKnownHostsFile="$file" "$@" true </dev/null >/dev/null 2>&1
cat "$file"`
  const { stdout } = await inShell(ssh, script, args)
  return stdout
    .toString('utf8')
    .split('\n')
    .flatMap((line) => {
      const [, kind, blob] = /^\S+ ([a-z0-9@.-]+) ([A-Za-z0-9+/=]+)/.exec(line) ?? []
      return kind === undefined || blob === undefined ? [] : [{ line, kind, fingerprint: fingerprintOf(blob) }]
    })
}

function fingerprintOf(blob: string): string {
  const digest = createHash('sha256').update(Buffer.from(blob, 'base64')).digest('base64')
  return `SHA256:${digest.replace(/=+$/, '')}`
}

/** Adds keys of a host to the known_hosts file that ssh reads for it, and answers its path. */
export async function addKnownHosts(ssh: Ssh, host: SshHost, keys: readonly HostKey[]): Promise<string> {
  await ensureHome(ssh.user, ssh.context)
  const [file = `${ssh.user.home}/.ssh/known_hosts`] = await filesOf(ssh, host, 'userknownhostsfile')
  const script = `umask 077 && mkdir -p "$(dirname "$1")" || exit
[ -z "$(tail -c 1 "$1" 2>/dev/null)" ] || echo >>"$1"
cat >>"$1"`
  const ending = await inShell(ssh, script, [file], keys.map(({ line }) => `${line}\n`).join(''))
  if (!hasSucceeded(ending)) throw new Error(`${file} cannot be written: ${ending.stderr.trim()}`)
  return file
}

/** The ssh key of a user. */
export interface OwnKey {
  readonly file: string
  readonly publicKey: string
  readonly isNew: boolean
  /** Whether it has a passphrase, which nobody types for a service. */
  readonly needsPassphrase: boolean
}

/** The key of the user that ssh would offer to a host. One is made where there is none; none is overwritten. */
export async function ensureOwnKey(ssh: Ssh, host: SshHost): Promise<OwnKey> {
  await ensureHome(ssh.user, ssh.context)
  const files = await filesOf(ssh, host, 'identityfile')
  const made = files.find((file) => file.endsWith('id_ed25519')) ?? files[0] ?? `${ssh.user.home}/.ssh/id_ed25519`
  const script = `umask 077; comment=$1; made=$2; shift 2
for key in "$@"; do if [ -e "$key" ]; then made=$key; break; fi; done
new=no
if [ ! -e "$made" ]; then
  mkdir -p "$(dirname "$made")" && ssh-keygen -q -t ed25519 -N '' -C "$comment" -f "$made" </dev/null >&2 || exit
  new=yes
fi
locked=yes
if ssh-keygen -y -P '' -f "$made" >/dev/null 2>&1; then locked=no; fi
printf '%s\\n%s\\n%s\\n' "$made" "$new" "$locked"
cat "$made.pub" 2>/dev/null || ssh-keygen -y -P '' -f "$made"`
  const ending = await inShell(ssh, script, [`${ssh.user.user}@${hostname()}`, made, ...files])
  if (!hasSucceeded(ending)) throw new Error(`no key could be made: ${ending.stderr.trim()}`)
  const [file = made, isNew, needsPassphrase, publicKey = ''] = ending.stdout.toString('utf8').split('\n')
  return { file, publicKey, isNew: isNew === 'yes', needsPassphrase: needsPassphrase === 'yes' }
}

/** The files that ssh would use for a host, in the order of ssh. */
async function filesOf(ssh: Ssh, { args }: SshHost, name: 'userknownhostsfile' | 'identityfile'): Promise<string[]> {
  const ending = await inShell(ssh, `${sshCommand(ssh.env)} -G "$@"`, args)
  return (
    ending.stdout
      .toString('utf8')
      .split('\n')
      .filter((line) => line.startsWith(`${name} `))
      .map((line) => line.slice(name.length + 1))
      // Only of known_hosts files may a line name several; a key may lie in a path with blanks.
      .map((value) => (name === 'identityfile' ? value : (value.split(' ')[0] ?? '')))
      .map((file) => file.replace(/^~(?=\/)/, ssh.user.home))
      .filter((file) => file.startsWith('/') && file !== '/dev/null')
  )
}

async function inShell({ user, env, context, signal }: Ssh, script: string, args: readonly string[], input = '') {
  return await runAs(
    user,
    { argv: ['sh', '-c', script, 'sh', ...args], env, input, timeoutMs: TIMEOUT_MS },
    context,
    signal,
  )
}
