import type { Segment } from './path-glob.ts'

/** Patterns that begin with the same pieces; what ends here is told by its last piece. */
interface Node {
  readonly nodes: Map<string, Node>
  readonly ends: { readonly tail: string; readonly globs: number[] }[]
}

/**
 * Which of many patterns mean a name. Each piece of a pattern is looked for once, from left to right, and for all patterns that begin alike
 * together: where the first place of a piece is depends on the pieces before it alone.
 */
export class NamePatterns {
  readonly #heads: Node = { nodes: new Map(), ends: [] }

  /** `segment`: a name with gaps. `glob`: whose it is. */
  add(segment: Segment, glob: number): void {
    let node = this.#heads
    for (const piece of segment.slice(0, -1)) {
      const next = node.nodes.get(piece) ?? { nodes: new Map(), ends: [] }
      node.nodes.set(piece, next)
      node = next
    }
    const tail = segment.at(-1) ?? ''
    const end = node.ends.find((each) => each.tail === tail)
    if (end === undefined) node.ends.push({ tail, globs: [glob] })
    else end.globs.push(glob)
  }

  /** The globs of the patterns that mean a folded name, in no order. */
  meaning(name: string): number[] {
    const found: number[] = []
    for (const [head, node] of this.#heads.nodes) if (name.startsWith(head)) goOn(node, name, head.length, found)
    return found
  }
}

/** `at`: the end of what the pieces above this node are found in. */
function goOn({ nodes, ends }: Node, name: string, at: number, found: number[]): void {
  for (const { tail, globs } of ends) if (at + tail.length <= name.length && name.endsWith(tail)) found.push(...globs)
  for (const [piece, node] of nodes) {
    const start = name.indexOf(piece, at)
    if (start >= 0) goOn(node, name, start + piece.length, found)
  }
}
