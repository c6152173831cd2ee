import type { Env } from '#runtime/read-settings.ts'

/**
 * For every git command: no prompts, only the transports that S2 supports, messages in English, and one heap for all threads, since
 * what is set aside for each counts against the bound of memory. git(1), mallopt(3)
 */
const GIT_ENV = {
  GIT_TERMINAL_PROMPT: '0',
  GIT_ALLOW_PROTOCOL: 'file:git:http:https:ssh',
  LC_ALL: 'C',
  MALLOC_ARENA_MAX: '1',
} as const

/** What every git command gets. */
function common(env: Env): Record<string, string | undefined> {
  return { ...GIT_ENV, GIT_SSH_COMMAND: sshCommand(env) }
}

/** The ssh command of GIT_SSH_COMMAND, or ssh with its user's settings; in either case without prompts. */
export function sshCommand({ GIT_SSH_COMMAND }: Env): string {
  return `${GIT_SSH_COMMAND?.trim() || 'ssh'} -oBatchMode=yes -oConnectTimeout=10`
}

/**
 * The settings of every git command that S2 runs: no hooks, filters, submodules or helpers; slow and huge transfers end.
 * git-config(1). No other settings are in force: neither those of the machine, nor a user's, nor a repository's own. From the
 * environment git gets only what finds programs, keys and certificates; a password is read from ~/.netrc.
 */
export const GIT_SETTINGS = [
  'core.hooksPath=/dev/null',
  'core.fsmonitor=false',
  'core.bigFileThreshold=1m',
  'fetch.fsckObjects=true',
  'fetch.writeCommitGraph=false',
  'fetch.recurseSubmodules=false',
  'gc.auto=0',
  'maintenance.auto=false',
  'core.autocrlf=false',
  'core.packedGitLimit=64m',
  'core.packedGitWindowSize=1m',
  'core.deltaBaseCacheLimit=8m',
  'pack.threads=1',
  'pack.windowMemory=8m',
  'fetch.unpackLimit=1',
  'transfer.unpackLimit=1',
  'http.lowSpeedLimit=1000',
  'http.lowSpeedTime=20',
  'http.followRedirects=false',
  'protocol.version=2',
] as const

const SEEN_BY_GIT = [
  'PATH',
  'HOME',
  'USER',
  'LOGNAME',
  'SSH_AUTH_SOCK',
  'GIT_SSH_VARIANT',
  'GIT_SSL_CAINFO',
  'SSL_CERT_FILE',
  'SSL_CERT_DIR',
  'https_proxy',
  'http_proxy',
  'no_proxy',
] as const

/** The environment of a git command, made from that of its program. Commits that it makes are S2's. */
export function gitEnv(env: Env): Record<string, string | undefined> {
  const seen = SEEN_BY_GIT.flatMap((name) => (env[name] === undefined ? [] : [[name, env[name]]]))
  return {
    ...Object.fromEntries(seen),
    ...common(env),
    GIT_ASKPASS: '/bin/false',
    GIT_CONFIG_NOSYSTEM: '1',
    GIT_CONFIG_GLOBAL: '/dev/null',
    GIT_AUTHOR_NAME: 's2',
    GIT_AUTHOR_EMAIL: 's2@localhost',
    GIT_COMMITTER_NAME: 's2',
    GIT_COMMITTER_EMAIL: 's2@localhost',
  }
}
