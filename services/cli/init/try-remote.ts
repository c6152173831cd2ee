import type { CommandContext } from '#console/context.ts'
import { GIT_SETTINGS, gitEnv } from '#git/git-environment.ts'
import { type GitFault, gitAdviceFor, gitFaultOf, gitMessagesOf } from '#git/git-errors.ts'
import { readSettings } from '#runtime/read-settings.ts'
import { type Ending, hasSucceeded } from '#runtime/run-command.ts'
import { environmentOf, isHiddenFromServices, runAs, type ServiceUser } from './service-user.ts'

/** A git remote, and the user and right that it is used with. */
export interface Remote {
  readonly address: string
  readonly branch: string
  readonly user: ServiceUser
  /** `push` where credentials are published from here, `read` where they are taken from. */
  readonly right: 'read' | 'push'
  /** Whether it is read by a service that cannot see homes and `/tmp`. */
  readonly isSandboxed: boolean
  /** The settings in force; git gets those about ssh and proxies. */
  readonly settings: Readonly<Record<string, string>>
}

/** The answer of a remote to a try. */
export type RemoteAnswer =
  | { readonly isIn: true }
  | { readonly isIn: false; readonly fault: GitFault; readonly complaints: readonly string[]; readonly mending: string }

/** Offers an empty commit for an unused branch in a dry run: the remote answers whether a push would be allowed. */
const TRY_PUSH = `folder=$(mktemp -d) || exit; trap 'rm -rf "$folder"' EXIT
remote=$1; shift
"$@" init --quiet --bare --template= "$folder" && cd "$folder" || exit
tree=$("$@" hash-object -w -t tree /dev/null) && commit=$("$@" commit-tree -m 'May this host push?' "$tree" </dev/null) || exit
"$@" push --quiet --dry-run -- "$remote" "$commit:refs/heads/s2-may-this-host-push"`

/** A dry run does not check that the folder of a local remote can be written. */
const WRITABLE = `path=$1; for objects in "$path/objects" "$path/.git/objects"; do
  if [ -d "$objects" ] && [ ! -w "$objects" ]; then echo "insufficient permission: $objects" >&2; exit 1; fi
done`

/** Tries whether a remote gives a user the right it needs, in the way its services will ask. */
export async function tryRemote(remote: Remote, context: CommandContext, signal: AbortSignal): Promise<RemoteAnswer> {
  const { address, branch, right, isSandboxed } = remote
  const path = localPath(address)
  if (isSandboxed && path !== null && isHiddenFromServices(path)) return hidden(path)
  const read = await git(remote, ['ls-remote', '--refs', '--', address, `refs/heads/${branch}`], context, signal)
  if (!hasSucceeded(read) || right === 'read') return answerOf(read, right)
  if (path !== null) {
    const writable = await inShell(remote, WRITABLE, [path], context, signal)
    if (!hasSucceeded(writable)) return answerOf(writable, right)
  }
  return answerOf(await inShell(remote, TRY_PUSH, [address, ...gitCommand()], context, signal), right)
}

function hidden(path: string): RemoteAnswer {
  const complaints = [`${path} lies where services are not let in, such as homes and /tmp`]
  return { isIn: false, fault: 'no_repository', complaints, mending: 'put it elsewhere, such as below /srv' }
}

function answerOf(ending: Ending, right: Remote['right']): RemoteAnswer {
  if (hasSucceeded(ending)) return { isIn: true }
  const fault = gitFaultOf(ending)
  return { isIn: false, fault, complaints: gitMessagesOf(ending), mending: gitAdviceFor(fault, right) }
}

/** The path of a remote on this machine; null for any other remote. */
function localPath(address: string): string | null {
  if (address.startsWith('/')) return address
  return /^file:\/\/\//.test(address) && URL.canParse(address) ? decodeURIComponent(new URL(address).pathname) : null
}

function gitCommand(): [string, ...string[]] {
  return ['git', ...GIT_SETTINGS.flatMap((each) => ['-c', each])]
}

async function git(
  remote: Remote,
  args: readonly string[],
  context: CommandContext,
  signal: AbortSignal,
): Promise<Ending> {
  return await run(remote, [...gitCommand(), ...args], context, signal)
}

async function inShell(
  remote: Remote,
  script: string,
  args: readonly string[],
  context: CommandContext,
  signal: AbortSignal,
) {
  return await run(remote, ['sh', '-c', script, 'sh', ...args], context, signal)
}

/** Runs a command with the environment in which services run git. */
async function run(
  { user, settings }: Remote,
  argv: [string, ...string[]],
  context: CommandContext,
  signal: AbortSignal,
): Promise<Ending> {
  const services = environmentOf(user, settings, context)
  const env = gitEnv(services)
  const timeoutMs = readSettings(services, ['S2_GIT_TIMEOUT']).S2_GIT_TIMEOUT
  return await runAs(user, { argv, env, timeoutMs }, context, signal)
}
