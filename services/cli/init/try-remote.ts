import type { CommandContext } from '#console/context.ts'
import { CREDENTIAL_FILE_MAX, credentialPath } from '#fleet/credential.ts'
import { S2Error } from '#fleet/errors.ts'
import { PUBLISHER_SETTINGS, publisherEnv } from '#issuing/git-publisher.ts'
import { READER_SETTINGS, readerEnv } from '#runtime/git-environment.ts'
import { type GitFault, gitAdviceFor, gitFaultOf, gitMessagesOf } from '#runtime/git-errors.ts'
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
  return answerOf(await inShell(remote, TRY_PUSH, [address, ...gitCommand(right)], context, signal), right)
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

/** Fetches the tip of the branch and prints one file of it. Exit code 3: no branch, 4: no file. */
const SHOW_FILE = `folder=$(mktemp -d) || exit; trap 'rm -rf "$folder"' EXIT
remote=$1 branch=$2 path=$3 max=$4; shift 4
ulimit -f 131072
"$@" init --quiet --bare --template= "$folder" && cd "$folder" || exit
[ -n "$("$@" ls-remote --refs -- "$remote" "refs/heads/$branch")" ] || exit 3
"$@" fetch --quiet --depth=1 --no-tags --no-recurse-submodules -- "$remote" "+refs/heads/$branch:refs/s2/tip" || exit
size=$("$@" cat-file -s "refs/s2/tip:$path" 2>/dev/null) || exit 4
[ "$size" -le "$max" ] || { echo "fatal: $path has $size bytes" >&2; exit 1; }
"$@" cat-file blob "refs/s2/tip:$path"`

/** The credential file of a worker in the remote; null when there is none. Throws `unavailable`. */
export async function fetchCredentialFile(
  remote: Remote,
  worker: number,
  context: CommandContext,
  signal: AbortSignal,
): Promise<Buffer | null> {
  const args = [remote.address, remote.branch, credentialPath(worker), String(CREDENTIAL_FILE_MAX)]
  const ending = await inShell(remote, SHOW_FILE, [...args, ...gitCommand('read')], context, signal)
  if (hasSucceeded(ending)) return ending.stdout
  if (ending.ended === null && (ending.code === 3 || ending.code === 4)) return null
  throw new S2Error('unavailable', gitMessagesOf(ending).join('; '), { next: gitAdviceFor(gitFaultOf(ending), 'read') })
}

/** The path of a remote on this machine; null for any other remote. */
function localPath(address: string): string | null {
  if (address.startsWith('/')) return address
  return /^file:\/\/\//.test(address) && URL.canParse(address) ? decodeURIComponent(new URL(address).pathname) : null
}

function gitCommand(right: Remote['right']): [string, ...string[]] {
  const settings = right === 'read' ? READER_SETTINGS : PUBLISHER_SETTINGS
  return ['git', ...settings.flatMap((each) => ['-c', each])]
}

async function git(
  remote: Remote,
  args: readonly string[],
  context: CommandContext,
  signal: AbortSignal,
): Promise<Ending> {
  return await run(remote, [...gitCommand(remote.right), ...args], context, signal)
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

/** Runs a command with the environment of the services that read, or of the commands that publish. */
async function run(
  { user, right, settings }: Remote,
  argv: [string, ...string[]],
  context: CommandContext,
  signal: AbortSignal,
): Promise<Ending> {
  const services = environmentOf(user, settings, context)
  const env = right === 'read' ? readerEnv(services) : publisherEnv(services, null)
  const timeoutMs = readSettings(services, ['S2_GIT_TIMEOUT']).S2_GIT_TIMEOUT
  return await runAs(user, { argv, env, timeoutMs }, context, signal)
}
