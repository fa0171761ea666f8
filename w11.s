	.file	"<string>"
	.section	.ltext,"axl",@progbits
	.globl	_ZN8__main__4loopB3v51B36c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWpoAE5ArrayIiLi1E1C7mutable7alignedE5ArrayIiLi1E1C7mutable7alignedE5ArrayIxLi1E1C7mutable7alignedE5ArrayIxLi1E1C7mutable7alignedE5ArrayIxLi1E1C7mutable7alignedE
	.p2align	4
	.type	_ZN8__main__4loopB3v51B36c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWpoAE5ArrayIiLi1E1C7mutable7alignedE5ArrayIiLi1E1C7mutable7alignedE5ArrayIxLi1E1C7mutable7alignedE5ArrayIxLi1E1C7mutable7alignedE5ArrayIxLi1E1C7mutable7alignedE,@function
_ZN8__main__4loopB3v51B36c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWpoAE5ArrayIiLi1E1C7mutable7alignedE5ArrayIiLi1E1C7mutable7alignedE5ArrayIxLi1E1C7mutable7alignedE5ArrayIxLi1E1C7mutable7alignedE5ArrayIxLi1E1C7mutable7alignedE:
	pushq	%r15
	pushq	%r14
	pushq	%rbx
	movq	184(%rsp), %r11
	testq	%r11, %r11
	jle	.LBB0_17
	movq	256(%rsp), %rax
	movq	200(%rsp), %r9
	movq	144(%rsp), %rcx
	movq	88(%rsp), %rsi
	movq	32(%rsp), %r8
	movabsq	$17179869180, %r10
	cmpq	$1, %r11
	jne	.LBB0_3
	xorl	%edx, %edx
	jmp	.LBB0_10
.LBB0_3:
	movabsq	$9223372036854775806, %rbx
	andq	%r11, %rbx
	xorl	%edx, %edx
	jmp	.LBB0_4
	.p2align	4
.LBB0_24:
	movq	(%rcx), %r14
.LBB0_25:
	movq	%rdx, %r15
	orq	$1, %r15
	addq	$2, %rdx
	movq	%r14, (%rax,%r15,8)
	cmpq	%rbx, %rdx
	je	.LBB0_9
.LBB0_4:
	movq	(%r9,%rdx,8), %r15
	movq	%r15, %r14
	shrq	$6, %r14
	andq	%r10, %r14
	movl	(%r8,%r14), %r14d
	testl	%r14d, %r14d
	jns	.LBB0_7
	movzbl	%r15b, %r15d
	leaq	(%rsi,%r15,4), %r15
	.p2align	4
.LBB0_6:
	notl	%r14d
	shll	$8, %r14d
	movl	(%r15,%r14,4), %r14d
	testl	%r14d, %r14d
	js	.LBB0_6
.LBB0_7:
	testl	%r14d, %r14d
	jne	.LBB0_8
	movq	(%rcx), %r14
	jmp	.LBB0_19
	.p2align	4
.LBB0_8:
	movl	%r14d, %r14d
	decq	%r14
.LBB0_19:
	movq	%r14, (%rax,%rdx,8)
	movq	8(%r9,%rdx,8), %r15
	movq	%r15, %r14
	shrq	$6, %r14
	andq	%r10, %r14
	movl	(%r8,%r14), %r14d
	testl	%r14d, %r14d
	jns	.LBB0_22
	movzbl	%r15b, %r15d
	leaq	(%rsi,%r15,4), %r15
	.p2align	4
.LBB0_21:
	notl	%r14d
	shll	$8, %r14d
	movl	(%r15,%r14,4), %r14d
	testl	%r14d, %r14d
	js	.LBB0_21
.LBB0_22:
	testl	%r14d, %r14d
	je	.LBB0_24
	movl	%r14d, %r14d
	decq	%r14
	jmp	.LBB0_25
.LBB0_9:
	testb	$1, %r11b
	je	.LBB0_17
.LBB0_10:
	movq	(%r9,%rdx,8), %r9
	movq	%r9, %r11
	shrq	$6, %r11
	andq	%r10, %r11
	movl	(%r8,%r11), %r8d
	testl	%r8d, %r8d
	jns	.LBB0_13
	movzbl	%r9b, %r9d
	leaq	(%rsi,%r9,4), %rsi
	.p2align	4
.LBB0_12:
	notl	%r8d
	shll	$8, %r8d
	movl	(%rsi,%r8,4), %r8d
	testl	%r8d, %r8d
	js	.LBB0_12
.LBB0_13:
	testl	%r8d, %r8d
	jne	.LBB0_14
	movq	(%rcx), %rcx
	jmp	.LBB0_16
.LBB0_14:
	movl	%r8d, %ecx
	decq	%rcx
.LBB0_16:
	movq	%rcx, (%rax,%rdx,8)
.LBB0_17:
	movq	$0, (%rdi)
	xorl	%eax, %eax
	popq	%rbx
	popq	%r14
	popq	%r15
	retq
.Lfunc_end0:
	.size	_ZN8__main__4loopB3v51B36c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWpoAE5ArrayIiLi1E1C7mutable7alignedE5ArrayIiLi1E1C7mutable7alignedE5ArrayIxLi1E1C7mutable7alignedE5ArrayIxLi1E1C7mutable7alignedE5ArrayIxLi1E1C7mutable7alignedE, .Lfunc_end0-_ZN8__main__4loopB3v51B36c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWpoAE5ArrayIiLi1E1C7mutable7alignedE5ArrayIiLi1E1C7mutable7alignedE5ArrayIxLi1E1C7mutable7alignedE5ArrayIxLi1E1C7mutable7alignedE5ArrayIxLi1E1C7mutable7alignedE

	.globl	_ZN7cpython8__main__4loopB3v51B36c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWpoAE5ArrayIiLi1E1C7mutable7alignedE5ArrayIiLi1E1C7mutable7alignedE5ArrayIxLi1E1C7mutable7alignedE5ArrayIxLi1E1C7mutable7alignedE5ArrayIxLi1E1C7mutable7alignedE
	.p2align	4
	.type	_ZN7cpython8__main__4loopB3v51B36c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWpoAE5ArrayIiLi1E1C7mutable7alignedE5ArrayIiLi1E1C7mutable7alignedE5ArrayIxLi1E1C7mutable7alignedE5ArrayIxLi1E1C7mutable7alignedE5ArrayIxLi1E1C7mutable7alignedE,@function
_ZN7cpython8__main__4loopB3v51B36c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWpoAE5ArrayIiLi1E1C7mutable7alignedE5ArrayIiLi1E1C7mutable7alignedE5ArrayIxLi1E1C7mutable7alignedE5ArrayIxLi1E1C7mutable7alignedE5ArrayIxLi1E1C7mutable7alignedE:
	.cfi_startproc
	pushq	%rbp
	.cfi_def_cfa_offset 16
	pushq	%r15
	.cfi_def_cfa_offset 24
	pushq	%r14
	.cfi_def_cfa_offset 32
	pushq	%r13
	.cfi_def_cfa_offset 40
	pushq	%r12
	.cfi_def_cfa_offset 48
	pushq	%rbx
	.cfi_def_cfa_offset 56
	subq	$616, %rsp
	.cfi_def_cfa_offset 672
	.cfi_offset %rbx, -56
	.cfi_offset %r12, -48
	.cfi_offset %r13, -40
	.cfi_offset %r14, -32
	.cfi_offset %r15, -24
	.cfi_offset %rbp, -16
	movq	%rsi, %rdi
	leaq	256(%rsp), %rax
	movq	%rax, 16(%rsp)
	leaq	264(%rsp), %rax
	movq	%rax, 8(%rsp)
	leaq	272(%rsp), %rax
	movq	%rax, (%rsp)
	movabsq	$.const.loop, %rsi
	movabsq	$PyArg_UnpackTuple, %r10
	xorl	%ebx, %ebx
	leaq	288(%rsp), %r8
	leaq	280(%rsp), %r9
	movl	$5, %edx
	movl	$5, %ecx
	xorl	%eax, %eax
	callq	*%r10
	testl	%eax, %eax
	je	.LBB1_23
	movabsq	$_ZN08NumbaEnv8__main__4loopB3v51B36c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWpoAE5ArrayIiLi1E1C7mutable7alignedE5ArrayIiLi1E1C7mutable7alignedE5ArrayIxLi1E1C7mutable7alignedE5ArrayIxLi1E1C7mutable7alignedE5ArrayIxLi1E1C7mutable7alignedE, %rax
	cmpq	$0, (%rax)
	je	.LBB1_2
	movq	288(%rsp), %rdi
	vxorps	%xmm0, %xmm0, %xmm0
	vmovups	%ymm0, 560(%rsp)
	vmovups	%ymm0, 584(%rsp)
	movabsq	$numba_adapt_ndarray, %r14
	leaq	560(%rsp), %rsi
	vzeroupper
	callq	*%r14
	testl	%eax, %eax
	jne	.LBB1_6
	cmpq	$4, 584(%rsp)
	jne	.LBB1_6
	movq	592(%rsp), %rbx
	movq	280(%rsp), %rdi
	vxorps	%xmm0, %xmm0, %xmm0
	vmovups	%ymm0, 496(%rsp)
	vmovups	%ymm0, 520(%rsp)
	leaq	496(%rsp), %rsi
	vzeroupper
	callq	*%r14
	testl	%eax, %eax
	jne	.LBB1_6
	cmpq	$4, 520(%rsp)
	jne	.LBB1_6
	movq	528(%rsp), %r15
	movq	272(%rsp), %rdi
	vxorps	%xmm0, %xmm0, %xmm0
	vmovups	%ymm0, 432(%rsp)
	vmovups	%ymm0, 456(%rsp)
	leaq	432(%rsp), %rsi
	vzeroupper
	callq	*%r14
	testl	%eax, %eax
	jne	.LBB1_6
	cmpq	$8, 456(%rsp)
	jne	.LBB1_6
	movq	464(%rsp), %r12
	movq	264(%rsp), %rdi
	vxorps	%xmm0, %xmm0, %xmm0
	vmovups	%ymm0, 304(%rsp)
	vmovups	%ymm0, 328(%rsp)
	leaq	304(%rsp), %rsi
	vzeroupper
	callq	*%r14
	testl	%eax, %eax
	jne	.LBB1_6
	cmpq	$8, 328(%rsp)
	jne	.LBB1_6
	movq	320(%rsp), %r13
	movq	336(%rsp), %rbp
	movq	256(%rsp), %rdi
	vxorps	%xmm0, %xmm0, %xmm0
	vmovups	%ymm0, 368(%rsp)
	vmovups	%ymm0, 392(%rsp)
	leaq	368(%rsp), %rsi
	vzeroupper
	callq	*%r14
	testl	%eax, %eax
	jne	.LBB1_6
	cmpq	$8, 392(%rsp)
	jne	.LBB1_6
	movq	400(%rsp), %rax
	movq	%rax, 224(%rsp)
	movq	%rbp, 168(%rsp)
	movq	%r13, 152(%rsp)
	movq	%r12, 112(%rsp)
	movq	%r15, 56(%rsp)
	movq	%rbx, (%rsp)
	movabsq	$_ZN8__main__4loopB3v51B36c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWpoAE5ArrayIiLi1E1C7mutable7alignedE5ArrayIiLi1E1C7mutable7alignedE5ArrayIxLi1E1C7mutable7alignedE5ArrayIxLi1E1C7mutable7alignedE5ArrayIxLi1E1C7mutable7alignedE, %rax
	leaq	296(%rsp), %rdi
	callq	*%rax
	testl	%eax, %eax
	jne	.LBB1_16
	movabsq	$_Py_NoneStruct, %rbx
	movabsq	$Py_IncRef, %rax
	movq	%rbx, %rdi
	callq	*%rax
.LBB1_23:
	movq	%rbx, %rax
	addq	$616, %rsp
	.cfi_def_cfa_offset 56
	popq	%rbx
	.cfi_def_cfa_offset 48
	popq	%r12
	.cfi_def_cfa_offset 40
	popq	%r13
	.cfi_def_cfa_offset 32
	popq	%r14
	.cfi_def_cfa_offset 24
	popq	%r15
	.cfi_def_cfa_offset 16
	popq	%rbp
	.cfi_def_cfa_offset 8
	retq
.LBB1_6:
	.cfi_def_cfa_offset 672
	movabsq	$PyExc_TypeError, %rdi
	movabsq	$".const.can't unbox array from PyObject into native value.  The object maybe of a different type", %rsi
.LBB1_3:
	movabsq	$PyErr_SetString, %rax
	callq	*%rax
	xorl	%ebx, %ebx
	jmp	.LBB1_23
.LBB1_16:
	jg	.LBB1_24
	cmpl	$-1, %eax
	je	.LBB1_18
	cmpl	$-3, %eax
	jne	.LBB1_21
	movabsq	$PyExc_StopIteration, %rdi
	movabsq	$PyErr_SetNone, %rax
	callq	*%rax
	xorl	%ebx, %ebx
	jmp	.LBB1_23
.LBB1_2:
	movabsq	$PyExc_RuntimeError, %rdi
	movabsq	$".const.missing Environment: _ZN08NumbaEnv8__main__4loopB3v51B36c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWpoAE5ArrayIiLi1E1C7mutable7alignedE5ArrayIiLi1E1C7mutable7alignedE5ArrayIxLi1E1C7mutable7alignedE5ArrayIxLi1E1C7mutable7alignedE5ArrayIxLi1E1C7mutable7alignedE", %rsi
	jmp	.LBB1_3
.LBB1_18:
	xorl	%ebx, %ebx
	jmp	.LBB1_23
.LBB1_21:
	movabsq	$PyExc_SystemError, %rdi
	movabsq	$".const.unknown error when calling native function", %rsi
	jmp	.LBB1_3
.LBB1_24:
	movabsq	$PyErr_Clear, %rax
	callq	*%rax
.Lfunc_end1:
	.size	_ZN7cpython8__main__4loopB3v51B36c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWpoAE5ArrayIiLi1E1C7mutable7alignedE5ArrayIiLi1E1C7mutable7alignedE5ArrayIxLi1E1C7mutable7alignedE5ArrayIxLi1E1C7mutable7alignedE5ArrayIxLi1E1C7mutable7alignedE, .Lfunc_end1-_ZN7cpython8__main__4loopB3v51B36c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWpoAE5ArrayIiLi1E1C7mutable7alignedE5ArrayIiLi1E1C7mutable7alignedE5ArrayIxLi1E1C7mutable7alignedE5ArrayIxLi1E1C7mutable7alignedE5ArrayIxLi1E1C7mutable7alignedE
	.cfi_endproc

