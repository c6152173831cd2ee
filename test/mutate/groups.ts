/** What must not be wrong in any place, and the tests that look at it: the fast ones first, since most mutants die of them. */
export interface Group {
  readonly name: string
  /** Below services/, without their ending. */
  readonly files: readonly string[]
  /** Below test/, without `.test.ts`. */
  readonly tests: readonly string[]
}

export function testPath(name: string): string {
  return `test/${name}.test.ts`
}

export const GROUPS: readonly Group[] = [
  {
    name: 'lease',
    files: ['worker/lease-renewer', 'worker/lease-timer'],
    tests: [
      'worker/lease-renewer',
      'worker/task-loop',
      'worker/two-lives',
      'worker/refused-reports',
      'worker/place-watch',
    ],
  },
  {
    name: 'fence',
    files: [
      'core/fleet/lease-observer',
      'core/fleet/task-ownership',
      'core/fleet/ownership-decision',
      'core/fleet/task-reports',
      'core/store/sqlite/tables/tasks',
    ],
    tests: [
      'core/fleet/task-steps',
      'core/fleet/lease-observer',
      'core/store/task-table',
      'core/fleet/task-ownership',
      'core/store/memory',
    ],
  },
  {
    name: 'auth',
    files: [
      'core/fleet/signature',
      'core/fleet/frame-seal',
      'core/fleet/session-id',
      'bridge/authentication',
      'bridge/nonce-cache',
      'bridge/signature-time',
      'bridge/token-cache',
      'bridge/permissions',
      'bridge/host-header-check',
    ],
    tests: [
      'core/fleet/session-id',
      'core/fleet/frame-seal',
      'bridge/allowed-names',
      'bridge/token-cache',
      'bridge/authentication',
      'bridge/permissions',
      'core/fleet/signature',
      'bridge/nonce-cache',
      'bridge/signature-time',
      'core/store/server-trust',
    ],
  },
  {
    name: 'audit',
    files: [
      'core/fleet/audit',
      'core/fleet/chain-check',
      'core/fleet/audit-head',
      'core/fleet/audit-restore',
      'core/store/sqlite/tables/audit-chain',
      'core/store/sqlite/audit/verify-lines',
    ],
    tests: [
      'core/fleet/audit-entry',
      'core/store/audit-table',
      'core/store/verify-lines',
      'core/store/audit-unreadable',
      'core/fleet/audit',
    ],
  },
  {
    name: 'credentials',
    files: [
      'core/fleet/credential',
      'core/identity/sealed-credential',
      'core/identity/manifest',
      'core/spool/credentials',
      'cred-sync/sync-credential',
      'cred-sync/git-source',
    ],
    tests: [
      'core/fleet/credential',
      'core/identity/manifest',
      'core/identity/sealed-credential',
      'core/spool/credentials',
      'cred-sync/sync-credential',
      'cred-sync/git-source',
      'core/identity/identity',
      'keepalive/credentials',
    ],
  },
  {
    name: 'agents',
    files: [
      'core/agents/answer-hook',
      'core/agents/budget',
      'core/agents/hook-answer',
      'core/agents/hook-event',
      'core/agents/next-session',
      'core/agents/retry-time',
    ],
    tests: [
      'core/agents/budget',
      'core/agents/hook-answer',
      'core/agents/hook-event',
      'core/agents/next-session',
      'core/agents/retry-time',
      'core/agents/answer-hook',
    ],
  },
  {
    name: 'wake',
    files: [
      'core/fleet/wake-ladder',
      'core/agents/wake/climb',
      'core/agents/wake/wake-memory',
      'fs-watcher/choose-session',
      'fs-watcher/wake-by-ladder',
    ],
    tests: [
      'core/fleet/wake-ladder',
      'core/agents/climb',
      'core/agents/wake-memory',
      'fs-watcher/choose-session',
      'fs-watcher/wake-by-ladder',
      'fs-watcher/side-by-side',
    ],
  },
  {
    name: 'held',
    files: ['core/spool/held-tasks', 'keepalive/held-task-renewal'],
    tests: ['core/spool/held-tasks', 'keepalive/held-task-renewal'],
  },
  {
    name: 'mcp',
    files: [
      'core/mcp/mcp-server',
      'core/mcp/json-rpc',
      'core/mcp/revisions',
      'core/mcp/stdio',
      'core/mcp/tool-input',
      'core/mcp/task-tools',
    ],
    tests: ['core/mcp/mcp-server', 'core/mcp/tool-input', 'core/mcp/task-tools', 'core/mcp/stdio', 'core/mcp/tools'],
  },
]
