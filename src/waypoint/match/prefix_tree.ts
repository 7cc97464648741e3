/** Texts by what they begin with: a walk over the text finds all prefixes that were put in, whatever their number. */
export class PrefixTree<T> {
  readonly #root: Node<T> = { label: "", value: null, children: new Map() };

  /** The value at exactly this prefix, made when there is none. */
  at(prefix: string, make: () => T): T {
    let node = this.#root;
    let rest = prefix;
    while (rest !== "") {
      const child = node.children.get(rest.charCodeAt(0));
      if (child === undefined) {
        const leaf: Node<T> = { label: rest, value: null, children: new Map() };
        node.children.set(rest.charCodeAt(0), leaf);
        node = leaf;
        break;
      }
      const shared = sharedLength(child.label, rest);
      if (shared < child.label.length) split(child, shared);
      rest = rest.slice(shared);
      node = child;
    }
    node.value ??= make();
    return node.value;
  }

  /** Every value at a prefix of the text, the shortest first. */
  walk(text: string, visit: (value: T) => void): void {
    let node: Node<T> | undefined = this.#root;
    let at = 0;
    while (node !== undefined) {
      if (node.value !== null) visit(node.value);
      if (at >= text.length) return;
      const child: Node<T> | undefined = node.children.get(text.charCodeAt(at));
      if (child === undefined || !text.startsWith(child.label, at)) return;
      at += child.label.length;
      node = child;
    }
  }
}

interface Node<T> {
  label: string;
  value: T | null;
  children: Map<number, Node<T>>;
}

function sharedLength(a: string, b: string): number {
  let length = 0;
  while (length < a.length && length < b.length && a[length] === b[length]) length++;
  return length;
}

function split<T>(node: Node<T>, at: number): void {
  const below: Node<T> = { label: node.label.slice(at), value: node.value, children: node.children };
  node.label = node.label.slice(0, at);
  node.value = null;
  node.children = new Map([[below.label.charCodeAt(0), below]]);
}
