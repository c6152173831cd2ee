import type { Command } from 'commander'
import { commandMember } from '../control-agent.ts'
import type { Shell } from '#console/context.ts'

const EXAMPLES = `
Examples:
  s2 kill s2-worker-3         all its processes die at once (KILL) and stay down until \`s2 thaw\`

Only for agents that an \`s2 up\` on this machine started.`

export function define(command: Command, shell: Shell): void {
  command
    .argument('<agent>', 'its name, or its role where no other has it')
    .option('--json', 'print JSON')
    .addHelpText('after', EXAMPLES)
    .action(async (agent: string, options: { json?: true }) => {
      const became = (count: number): string => `was killed (${count} processes); it stays down until s2 thaw`
      await commandMember('kill', agent, became, options.json === true, shell)
    })
}
