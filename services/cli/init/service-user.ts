import { chown, mkdir, stat } from 'node:fs/promises'
import { homedir, userInfo } from 'node:os'
import { join } from 'node:path'
import type { CommandContext } from '#console/context.ts'
import { UsageError } from '#console/failure.ts'
import { S2Error } from '#fleet/errors.ts'
import { type Command, type Ending, hasSucceeded, runCommand } from '#runtime/run-command.ts'

/** The user that services of a host run as, and the folder of their data. */
export interface ServiceUser {
  readonly user: string
  /** Where ssh and git find the keys and settings of that user, passwd(5). */
  readonly home: string
  readonly state: string
  /** What a command line begins with to run as that user; empty for the caller. */
  readonly commandPrefix: readonly string[]
}

/** The PATH of a service unless its unit sets another. systemd.exec(5) */
const PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'

/** The user `owner`, or the caller. Throws `UsageError` where there is no such user, `forbidden` without root. */
export async function serviceUserOf(
  context: CommandContext,
  owner: string | undefined,
  state: string | undefined,
): Promise<ServiceUser> {
  const { env, clock } = context
  const own = env.HOME ?? homedir()
  if (owner === undefined || (owner === userInfo().username && process.getuid?.() !== 0)) {
    const user = userInfo().username
    return { user, home: own, state: state ?? env.S2_STATE ?? join(own, '.local', 'state', 's2'), commandPrefix: [] }
  }
  const argv = ['getent', 'passwd', owner] as const
  const found = await runCommand({ argv, env: { PATH: env.PATH ?? PATH }, ...BOUNDS }, clock)
  const [user, , uid, gid, , home] = found.stdout.toString('utf8').trim().split(':')
  if (!hasSucceeded(found) || user === undefined || home === undefined)
    throw new UsageError(
      `there is no user ${JSON.stringify(owner)}`,
      'run make install first: it makes the users of the services',
    )
  if (process.getuid?.() !== 0)
    throw new S2Error('forbidden', `the services of this host run as ${user}, and only root acts for them`, {
      next: 'use sudo',
    })
  const commandPrefix = ['setpriv', `--reuid=${uid}`, `--regid=${gid}`, '--init-groups', '--']
  return { user, home, state: state ?? home, commandPrefix }
}

const BOUNDS = { timeoutMs: 10_000, outputMax: 65_536, beyond: 'end' } as const

/** The environment of services: it holds no ssh agent and no variable of the terminal. */
export function environmentOf(
  { user, home, state }: ServiceUser,
  settings: Readonly<Record<string, string>>,
  context: CommandContext,
): Record<string, string> {
  return { PATH: context.env.PATH ?? PATH, HOME: home, USER: user, LOGNAME: user, S2_STATE: state, ...settings }
}

/** Whether system services cannot see a path, whatever their user may read: ProtectHome, PrivateTmp. systemd.exec(5) */
export function isHiddenFromServices(path: string): boolean {
  return /^\/(home|root|run\/user|tmp|var\/tmp)(\/|$)/.test(path)
}

/** Runs a command as that user. Throws `unavailable` where it cannot be started. */
export async function runAs(
  user: ServiceUser,
  command: Pick<Command, 'argv' | 'env' | 'timeoutMs'> & Partial<Command>,
  context: CommandContext,
  signal?: AbortSignal,
): Promise<Ending> {
  const argv = [...user.commandPrefix, ...command.argv] as unknown as Command['argv']
  try {
    return await runCommand({ cwd: '/', ...BOUNDS, ...command, argv }, context.clock, signal)
  } catch (cause) {
    throw new S2Error('unavailable', `${argv[0]} cannot be started`, { next: `install ${argv[0]}`, cause })
  }
}

/**
 * Makes the home of the services' own user, which is missing before a first start, so that keys can be put into it. Only
 * root can; every other user has a home.
 */
export async function ensureHome(user: ServiceUser, context: CommandContext): Promise<void> {
  if (user.commandPrefix.length === 0 || (await stat(user.home).catch(() => null)) !== null) return
  if (user.home !== user.state) return
  await mkdir(user.home, { mode: 0o750 })
  const { stdout } = await runAs(
    user,
    { argv: ['sh', '-c', 'id -u; id -g'], env: { PATH }, timeoutMs: 10_000 },
    context,
  )
  const [uid = '', gid = ''] = stdout.toString('utf8').split('\n')
  await chown(user.home, Number(uid), Number(gid))
}
