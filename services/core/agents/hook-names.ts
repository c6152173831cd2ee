import type { Client } from './client-session.ts'
import { type ClientFields, shortWord } from './whole-fields.ts'

/**
 * What an event of a client means. `asking`: it shows a dialog and waits for a person; `answered`: that is over; `failure`: the turn
 * ended by an error of the service behind it; `note`: anything that says nothing of what the session does.
 */
export const HOOK_KINDS = [
  'start',
  'prompt',
  'tool_begun',
  'tool_ended',
  'asking',
  'answered',
  'idle',
  'turn_ended',
  'interrupted',
  'failure',
  'end',
  'note',
] as const
export type HookKind = (typeof HOOK_KINDS)[number]

/** What the events of the clients mean, by the names that they have there. Those that are not named say nothing that S2 uses. */
const KINDS: Readonly<Record<Client, Readonly<Record<string, HookKind>>>> = {
  claude: {
    SessionStart: 'start',
    UserPromptSubmit: 'prompt',
    PreToolUse: 'tool_begun',
    PostToolUse: 'tool_ended',
    PostToolUseFailure: 'tool_ended',
    PermissionRequest: 'asking',
    PermissionDenied: 'answered',
    Elicitation: 'asking',
    ElicitationResult: 'answered',
    Stop: 'turn_ended',
    StopFailure: 'failure',
    SessionEnd: 'end',
  },
  codex: {
    SessionStart: 'start',
    UserPromptSubmit: 'prompt',
    PreToolUse: 'tool_begun',
    PostToolUse: 'tool_ended',
    PermissionRequest: 'asking',
    Stop: 'turn_ended',
    Interrupt: 'interrupted',
    SessionEnd: 'end',
  },
  gemini: {
    SessionStart: 'start',
    BeforeAgent: 'prompt',
    BeforeTool: 'tool_begun',
    AfterTool: 'tool_ended',
    AfterAgent: 'turn_ended',
    SessionEnd: 'end',
  },
  opencode: {
    'session.created': 'start',
    'chat.message': 'prompt',
    'tool.execute.before': 'tool_begun',
    'tool.execute.after': 'tool_ended',
    'permission.asked': 'asking',
    'permission.updated': 'asking',
    'permission.replied': 'answered',
    'question.asked': 'asking',
    'question.replied': 'answered',
    'question.rejected': 'answered',
    'session.aborted': 'interrupted', // our plugin calls a session.error so that a person has caused
    'session.idle': 'turn_ended',
    'session.error': 'failure',
    'session.deleted': 'end',
  },
}

/** Notifications that say what a session does, by their type. */
const NOTIFICATIONS: Readonly<Record<string, HookKind>> = {
  permission_prompt: 'asking',
  elicitation_dialog: 'asking',
  ToolPermission: 'asking',
  idle_prompt: 'idle',
}

/** Tools that are questions to a person: from their beginning to their end the session waits. */
const QUESTIONS = new Set(['AskUserQuestion', 'ExitPlanMode', 'request_user_input', 'question'])

/** What an event means. After a compaction a session of Claude Code starts in the middle of its turn. */
export function kindOf(client: Client, name: string, fields: ClientFields): HookKind {
  if (name === 'Notification') return known(NOTIFICATIONS, shortWord(fields.notification_type)) ?? 'note'
  const kind = known(KINDS[client], name) ?? 'note'
  if (kind === 'start' && fields.source === 'compact') return 'note'
  return kind === 'tool_begun' && QUESTIONS.has(shortWord(fields.tool_name) ?? '') ? 'asking' : kind
}

function known(kinds: Readonly<Record<string, HookKind>>, name: string | null): HookKind | undefined {
  return name !== null && Object.hasOwn(kinds, name) ? kinds[name] : undefined
}
