import type { Command } from 'commander'
import type { CommandContext } from '#console/context.ts'
import { becomeProgram } from '../become-program.ts'

const EXAMPLES = `
Examples:
  s2 up fleet.json                   starts its programs and keeps them running until Ctrl-C
  s2 up deploy/fleet/nine.json --demo

A fleet file:
  {
    "bridge": { "listen": "127.0.0.1:7433" },
    "credentials": { "remote": "local", "branch": "main" },
    "settings": { "S2_SILENT_AFTER": "60s" },
    "orchestrator": { "wake": "notify-send mail" },
    "workers": [
      { "number": 1, "role": "backend", "agent": "claude", "permissionMode": "acceptEdits",
        "allowedTools": ["Bash(npm test)"], "budget": { "task": "2 USD", "day": "20 USD" }, "folder": "/src/app" },
      { "number": 2, "role": "tests", "agent": "codex", "permissionMode": "workspace-write", "model": "gpt-5.5-codex" },
      { "number": 3, "role": "docs", "exec": "./write-docs \\"$S2_TASK_ID\\"" },
      { "number": 4, "role": "review" }
    ]
  }

"agent" is a client that S2 drives, claude or codex; "permissionMode" says what it may do without asking (for Codex its sandbox
mode), "allowedTools" what Claude Code may besides. "exec" is any other command: "stdin": "text" gives it the text of a task on standard
input, instead of the task as JSON. A worker with neither is a place for an agent that you start yourself, with S2_STATE=.s2/workers/s2-worker-4
(as an absolute path) in its environment.

Each agent has a state folder of its own; workers get their credentials from the bridge and the git remote alone. The state
lies in .s2 of this folder, or in S2_STATE. Meanwhile s2 status, freeze, thaw and kill work from the same folder.`

interface Options {
  readonly demo?: true
  readonly json?: true
}

export function define(command: Command, context: CommandContext): void {
  command
    .argument('<fleet>', 'the fleet file')
    .option('--demo', 'add the demo tasks that the fleet file names')
    .option('--json', 'print events as JSON, one a line')
    .addHelpText('after', EXAMPLES)
    .action(async (path: string, { demo, json }: Options) => {
      const flags = [...(demo === true ? ['--demo'] : []), ...(json === true ? ['--json'] : [])]
      await becomeProgram(context, 'local', [...flags, '--', path])
    })
}
