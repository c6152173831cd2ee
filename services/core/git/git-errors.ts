import { type Ending, howItEnded } from '#runtime/run-command.ts'

/** A kind of git failure; each has its own remedy. */
export type GitFault = keyof typeof FAULTS

interface Fault {
  /** Matches the messages of git, ssh or the remote. */
  readonly says: RegExp
  readonly next: (right: Right) => string
}

/** The right that git needs at the remote. */
export type Right = 'read' | 'push'

/** The first match counts: ssh's own messages come before git's. */
const FAULTS = {
  too_large: {
    // index-pack that was killed says nothing itself.
    says: /\bOut of memory\b|^(fatal: )?fetch-pack: invalid index-pack output\s*$|unable to (mmap|create thread)|File size limit|died of signal (9|24|25)\b/i,
    next: () =>
      'see what lies at the remote and who writes there: credentials need a branch of their own, with little else',
  },
  malformed: {
    says: /fsck error|did not receive expected object|remote did not send all necessary objects|pack has \d+ unresolved delta|pack (is corrupted|signature mismatch)|inflate returned/i,
    next: () => 'see who writes to the remote and what serves it; what it sent is no sound repository',
  },
  no_git: { says: /git: not found|git: No such file/, next: () => 'install git' },
  no_ssh: {
    says: /\bssh\b.*: not found|cannot run \S*ssh\b|exec\S* ssh: No such file/i,
    next: () => 'install ssh (Debian: apt-get install openssh-client)',
  },
  changed_host_key: {
    says: /REMOTE HOST IDENTIFICATION HAS CHANGED|Host key for \S+ has changed/i,
    next: () =>
      'ask the operator of that host whether its key was changed; only then remove the old one, as the user that git runs as: ssh-keygen -R <host>',
  },
  unknown_host_key: {
    says: /Host key verification failed|host key is known for/i,
    next: () =>
      's2 init shows the key of that host and notes it; or put it into ~/.ssh/known_hosts of the user that git runs as',
  },
  no_write: {
    says: /hook declined|protected branch|marked as read[ -]only|write access|not allowed to push|denied to deploy key|insufficient permission|unable to create temporary object directory/i,
    next: () => 'let this host push to the branch, or choose another with --branch',
  },
  refused: {
    says: /Permission denied|Authentication|could not read (Username|Password)|terminal prompts disabled|Too many authentication failures|error: 40[13]|Permission to \S+ denied/i,
    next: (right) => `give this host a key or token that may ${right === 'read' ? 'read' : 'push to'} the remote`,
  },
  no_repository: {
    says: /does not appear to be a git repository|repository\b.*not found|project you were looking for could not be found|not a git repository|Invalid path|No such file or directory/i,
    next: () => 'check S2_GIT_REMOTE: is the path right, and was the repository made (git init --bare)?',
  },
  foreign_owner: {
    says: /dubious ownership/i,
    next: () => 'the remote belongs to another user: change its owner to this user (chown -R), or use ssh',
  },
  no_name: {
    says: /Could not resolve|Name or service not known|name resolution|No address associated/i,
    next: () => 'check the name of the host in S2_GIT_REMOTE, and the name resolution of this host',
  },
  certificate: {
    says: /certificate|SSL_ERROR|SSL connect error|gnutls/i,
    next: () =>
      'add the authority of that host to this machine (Debian: its .crt into /usr/local/share/ca-certificates, then update-ca-certificates)',
  },
  unreachable: {
    says: /Connection (refused|timed out|reset|closed)|Operation timed out|Failed to connect|unable to connect|No route to host|Network is unreachable|banner exchange|early EOF|hung up/i,
    next: () => 'check host and port in S2_GIT_REMOTE, whether the server runs, and the network between the two',
  },
  other: { says: /(?:)/, next: () => 'check the remote, then try again: nothing is done twice' },
  timeout: { says: /$^/, next: () => 'check the network and the remote, or give it longer (S2_GIT_TIMEOUT)' },
} as const satisfies Record<string, Fault>

const ORDER = Object.keys(FAULTS) as GitFault[]

/** The kind of a failure, by the messages of git and ssh. */
export function gitFaultOf({ ended, signal, stderr }: Ending): GitFault {
  if (ended === 'timeout') return 'timeout'
  if (ended === 'output' || signal === 'SIGXFSZ' || signal === 'SIGXCPU') return 'too_large'
  return ORDER.find((fault) => FAULTS[fault].says.test(stderr)) ?? 'other'
}

/** What to do about a failure. */
export function gitAdviceFor(fault: GitFault, right: Right): string {
  return FAULTS[fault].next(right)
}

const LINES_MAX = 6
const COMPLAINT_MAX = 1_000

/** Lines of ssh and git that do not name the cause. */
const PADDING =
  /^(@|\s*$|IT IS POSSIBLE|Someone could be|It is also possible|Please |and the repository exists|Add correct host key|no such identity:|Warning: Permanently added|hint:|To add an exception|\s*git config --global --add safe\.)/i
const SUMMARY = /^fatal: Could not read from remote repository/

/**
 * Why git failed: the lines of git, ssh and the remote that name the cause, or how it ended. They may hold a secret of the
 * remote.
 */
export function gitMessagesOf(ending: Ending): string[] {
  if (ending.ended !== null) return [howItEnded(ending)]
  const said = ending.stderr.split(/[\r\n]+/).filter((line) => !PADDING.test(line))
  const causes = said.filter((line) => !SUMMARY.test(line))
  const lines = (causes.length > 0 ? causes : said).map((line) => line.trim().replace(/[^\x20-\x7e]/g, '.'))
  const kept = lines.join('\n').slice(0, COMPLAINT_MAX).split('\n').slice(0, LINES_MAX)
  return kept.some((line) => line !== '') ? kept : [howItEnded(ending)]
}
