import { chown, mkdir, stat } from 'node:fs/promises'
import { homedir, userInfo } from 'node:os'
import { join } from 'node:path'
import type { CommandContext } from '#console/context.ts'
import { UsageError } from '#console/failure.ts'
import { S2Error } from '#fleet/errors.ts'
import { type Command, type Ending, hasSucceeded, runCommand } from '#runtime/command.ts'

/** One half of a host: whose its services are, and where they keep what they have. */
export interface ServiceUser {
  readonly user: string
  /** Where ssh and git find keys and settings of that user, passwd(5). */
  readonly home: string
  readonly state: string
  /** What a command line begins with to run as that user; empty for whoever calls. */
  readonly as: readonly string[]
}

/** What a service finds in its environment unless somebody sets more. systemd.exec(5) */
const PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'

/** The half whose services run as `owner`, or as whoever calls. Throws `UsageError` where there is no such user. */
export async function serviceUserOf(
  context: CommandContext,
  owner: string | undefined,
  state: string | undefined,
): Promise<ServiceUser> {
  const { env, clock } = context
  const own = env.HOME ?? homedir()
  if (owner === undefined || (owner === userInfo().username && process.getuid?.() !== 0)) {
    const user = userInfo().username
    return { user, home: own, state: state ?? env.S2_STATE ?? join(own, '.local', 'state', 's2'), as: [] }
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
  const as = ['setpriv', `--reuid=${uid}`, `--regid=${gid}`, '--init-groups', '--']
  return { user, home, state: state ?? home, as }
}

const BOUNDS = { timeoutMs: 10_000, outputMax: 65_536, beyond: 'end' } as const

/** What the services of a half find in their environment: no agent and no variable of the terminal is there. */
export function environmentOf(
  { user, home, state }: ServiceUser,
  settings: Readonly<Record<string, string>>,
  context: CommandContext,
): Record<string, string> {
  return { PATH: context.env.PATH ?? PATH, HOME: home, USER: user, LOGNAME: user, S2_STATE: state, ...settings }
}

/** Where the services of a whole host are not let in, whatever their user may: ProtectHome, PrivateTmp. systemd.exec(5) */
export function isHiddenFromServices(path: string): boolean {
  return /^\/(home|root|run\/user|tmp|var\/tmp)(\/|$)/.test(path)
}

/** Runs a command as the user of a half. Throws `unavailable` where it cannot be started. */
export async function runAs(
  user: ServiceUser,
  command: Pick<Command, 'argv' | 'env' | 'timeoutMs'> & Partial<Command>,
  context: CommandContext,
  signal?: AbortSignal,
): Promise<Ending> {
  const argv = [...user.as, ...command.argv] as unknown as Command['argv']
  try {
    return await runCommand({ cwd: '/', ...BOUNDS, ...command, argv }, context.clock, signal)
  } catch (cause) {
    throw new S2Error('unavailable', `${argv[0]} cannot be started`, { next: `install ${argv[0]}`, cause })
  }
}

/**
 * Makes the home of a half that is not there before a first start, so that keys can be put into it. Only root can, and only
 * for the services' own user: everybody else has one.
 */
export async function ensureHome(user: ServiceUser, context: CommandContext): Promise<void> {
  if (user.as.length === 0 || (await stat(user.home).catch(() => null)) !== null) return
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
